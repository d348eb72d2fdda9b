"""The errors a user can act on."""


class StormsegError(Exception):
    """A failure that a user can mend; its message is one line: what is wrong, the value, what to do.

    The command line prints the message and leaves with `exit_code`; ImageJ shows it in `IJ.error`.
    """

    exit_code = 1


class SettingsError(StormsegError):
    """A setting, option or macro key that is unknown, out of range or contradicts another one."""

    exit_code = 2


class ImageError(StormsegError):
    """An image, label image or ROI file that cannot be read, used or written."""


class BridgeError(StormsegError):
    """Java, ImageJ or Fiji could not be started or did not do what was asked."""


class ModelError(StormsegError):
    """A model folder that is missing, incomplete or does not fit."""


def first_line(error: Exception) -> str:
    """Return what an error says, in a line."""
    if isinstance(error, KeyError):
        return f"no {error}"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
