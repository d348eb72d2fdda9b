"""`python -m stormseg_ij.cli`, the same as `stormseg`."""

from stormseg_ij.cli import run

if __name__ == "__main__":
    run()
