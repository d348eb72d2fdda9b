"""What installing needs: jars, a whole Fiji, the path of a Python; and a look whether that Fiji runs."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from trees import NEEDED, put_jar, tree

from stormseg_ij import fiji_jars, install_fiji
from stormseg_ij.errors import BridgeError

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="programs and processes of Linux")

# ---- the Python that Fiji starts


def test_a_link_to_python_stays_a_link(install, fiji, tmp_path):
    (tmp_path / "venv").mkdir()
    link = tmp_path / "venv" / "python"
    link.symlink_to(sys.executable)
    assert install(fiji, python=link).python == link
    assert str(link).encode() in (fiji / install_fiji.PROPERTIES).read_bytes()
    report = install(fiji)
    assert report.done.replaced == (install_fiji.PROPERTIES,)
    assert report.python == Path(sys.executable).absolute()


def test_java_reads_what_we_write(run_python, tmp_path):
    values = {
        "windows": r"C:\Programs\Ana\new folder\Scripts\python.exe",
        "share": r"\\server\share\python.exe",
        "letters": "/Ana Łukasz/ÅÄÖ/細胞/𝕏/python",  # noqa: RUF001
        "blanks": "  two before, two after  ",
        "signs": "#!=: % ' \" ~ \x7f",
        "controls": "tab\tline\nreturn\rfeed\f",
        "version": "0.1.0",
    }
    path = tmp_path / "x.properties"
    path.write_bytes(install_fiji.properties(values))
    code = f"""
import json, jpype
from stormseg_ij import installation
jpype.startJVM(str(installation.find_java().library))
read = jpype.JClass("java.util.Properties")()
stream = jpype.JClass("java.io.FileInputStream")({str(path)!r})
read.load(jpype.JClass("java.io.InputStreamReader")(stream, "UTF-8"))
print(json.dumps({{str(key): str(read.getProperty(key)) for key in read.stringPropertyNames()}}))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == values


def test_a_path_that_is_no_text_is_one_line():
    with pytest.raises(BridgeError, match="is no text; install StormSeg's Python in another folder"):
        install_fiji.properties({"python": "/bytes/\udcff/python"})


# ---- jars


@pytest.mark.parametrize(
    ("has", "added"),
    [
        ([], NEEDED),
        (["jars/appose-0.5.1.jar"], NEEDED[1:]),
        (["plugins/appose-0.10.0.jar", "jars/linux64/jna-5.13.0.jar"], (*NEEDED[1:3], "jna-platform-5.13.0.jar")),
        (["jars/groovy-3.0.4.jar"], ("appose-0.9.0.jar", "groovy-json-3.0.4.jar", *NEEDED[3:])),
        (["jars/groovy-json-4.0.11.jar"], ("appose-0.9.0.jar", "groovy-4.0.11.jar", *NEEDED[3:])),
        (["jars/jna-platform-5.18.1.jar", "jars/groovy-5.0.0-rc-1.jar"],
         ("appose-0.9.0.jar", "groovy-json-5.0.0-rc-1.jar", "jna-5.18.1.jar")),
        (["jars/groovy-jsr223-4.0.28.jar", "jars/jna-jpms-5.14.0.jar", "jars/appose-python.jar"], NEEDED),
        (["jars/appose.jar", "jars/groovy-4.0.28-indy.jar"], NEEDED[2:]),
        ([f"jars/{jar}" for jar in NEEDED], ()),
    ],
)  # fmt: skip
def test_only_missing_jars_are_added_in_the_versions_that_fit(install, fiji, jars, has, added):
    for name in has:
        put_jar(fiji, name)
    before = tree(fiji)
    report = install(fiji)
    assert sorted(jars) == sorted(added)
    assert {name for name, state in report.jars.items() if state == "added"} == {f"jars/{name}" for name in added}
    assert len(report.jars) == len(NEEDED)
    install_fiji.uninstall(fiji)
    assert tree(fiji) == before


def test_groovy_3_has_another_group():
    found = {"groovy": Path("groovy-3.0.9.jar")}
    assert [(jar.group, jar.version, jar.sha256) for jar in fiji_jars._missing(found)[1:2]] == [
        ("org.codehaus.groovy", "3.0.9", "")
    ]


@pytest.mark.parametrize(
    "old",
    ["jars/appose-0.4.0.jar", "plugins/sub/appose-0.5.0.jar", "jars/jna-4.5.2.jar", "jars/groovy-2.4.8.jar",
     "jars/groovy-all-2.4.8.jar", "jars/bio-formats/jna-platform-4.5.2.jar"],
)  # fmt: skip
def test_a_jar_that_is_too_old_is_named_and_nothing_is_done(install, fiji, old):
    put_jar(fiji, old)
    before = tree(fiji)
    with pytest.raises(
        BridgeError, match=rf"{re.escape(old)} is too old: .* or newer; update Fiji \(Help > Update"
    ) as caught:
        install(fiji)
    assert "\n" not in str(caught.value)
    assert tree(fiji) == before


def test_ours_go_when_fiji_gets_its_own(install, fiji):
    install(fiji)
    put_jar(fiji, "jars/appose-0.10.0.jar")
    report = install(fiji)
    assert report.done.removed == ("jars/appose-0.9.0.jar",)
    assert sorted(path.name for path in fiji.glob("jars/appose*")) == ["appose-0.10.0.jar"]
    install_fiji.uninstall(fiji)
    assert sorted(path.name for path in fiji.glob("jars/appose*")) == ["appose-0.10.0.jar"]


def test_a_jar_that_somebody_replaced_is_theirs(install, fiji):
    install(fiji)
    (fiji / "jars/jna-5.14.0.jar").write_bytes(b"another build")
    assert not install(fiji).done.changes
    install_fiji.uninstall(fiji)
    assert (fiji / "jars/jna-5.14.0.jar").read_bytes() == b"another build"


SHARE_PIXELS = """
import sys, jpype
from stormseg_ij import installation
jpype.startJVM(str(installation.find_java().library), classpath={jars})
java = jpype.JClass
here = java("java.io.File")({folder})
service = java("org.apposed.appose.Service")(here, sys.executable, "-c", "import appose.python_worker as w; w.main()")
order = java("org.apposed.appose.NDArray$Shape$Order").C_ORDER
shape = java("org.apposed.appose.NDArray$Shape")(order, 3, 4)
pixels = java("org.apposed.appose.NDArray")(java("org.apposed.appose.NDArray$DType").UINT8, shape)
pixels.buffer().put(5, 7)
inputs = java("java.util.HashMap")()
inputs.put("pixels", pixels)
task = service.task("task.outputs['sum'] = int(pixels.ndarray().sum())", inputs)
task.waitFor()
print(task.status, task.outputs, task.error)
pixels.close()
service.close()
"""


def test_the_real_jars_hand_pixels_to_python(small, fiji, run_python):
    report = install_fiji.install(fiji)
    assert {*report.jars} == {f"jars/{name}" for name in NEEDED}
    with zipfile.ZipFile(fiji / "jars" / "jna-platform-5.14.0.jar") as opened:  # Windows needs it
        assert "com/sun/jna/platform/win32/Kernel32.class" in opened.namelist()
    jars = [str(fiji / name) for name in report.jars]
    done = run_python(SHARE_PIXELS.format(jars=jars, folder=repr(str(fiji / "stormseg"))))
    assert done.stdout == "COMPLETE {sum=7} None\n", done.stderr


def test_no_network_names_the_jar_and_the_folder(small, fiji, tmp_path, monkeypatch):
    from jgo.maven import MavenContext

    nowhere = {"central": "http://127.0.0.1:9"}
    monkeypatch.setattr("jgo.maven.MavenContext", functools.partial(MavenContext, remote_repos=nowhere))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    before = tree(fiji)
    with pytest.raises(BridgeError) as caught:
        install_fiji.install(fiji)
    message = str(caught.value)
    assert message.startswith("appose 0.9.0 is not in ")
    assert message.endswith(f"connect to the network once, or put appose-0.9.0.jar into {fiji / 'jars'} by hand")
    assert "\n" not in message
    assert tree(fiji) == before


# ---- wrong folders


def test_a_plain_imagej_is_told_from_a_fiji(install, tmp_path):
    for name in ("ij.jar", "mac/ImageJ.app/Contents/Java/ij.jar"):
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).touch()
    for folder in (tmp_path / "plain", tmp_path / "plain" / "mac"):
        with pytest.raises(BridgeError, match=r"plain ImageJ \(ij.jar\), which has no #@ scripts; get Fiji from https"):
            install(folder)


@pytest.mark.parametrize("name", ["nothing", "sc.fiji:fiji", "empty", "half"])
def test_what_is_no_fiji_is_one_line(install, make_fiji, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    make_fiji(tmp_path / "half", "ij-1.54p.jar")
    for run in (install, install_fiji.uninstall):
        with pytest.raises(BridgeError, match=r"^no (whole )?Fiji at .*; give ") as caught:
            run(Path(name))
        assert "\n" not in str(caught.value)


def test_a_package_without_its_scripts_is_one_line(install, fiji, source):
    shutil.rmtree(source / "macros")
    with pytest.raises(BridgeError, match=r"has no macros in .*; run pip install --force-reinstall .*(FOLDER|/|\\)"):
        install(fiji)


# ---- a Fiji that runs


@linux_only
@pytest.mark.parametrize("how", ["its launcher", "a Java started in it", "a Java told of it"])
def test_a_running_fiji_is_seen(fiji, tmp_path, how):
    program = fiji / "fiji-linux-x64" if how == "its launcher" else tmp_path / "java"
    shutil.copy("/bin/sh", program)
    words = [f"-Dimagej.dir={fiji}"] if how == "a Java told of it" else []
    cwd = fiji if how == "a Java started in it" else tmp_path
    other = fiji.with_name("Fiji.app2")
    other.mkdir()
    assert not install_fiji.runs(fiji)
    with subprocess.Popen([program, "-c", "read line; exit 0", *words], cwd=cwd, stdin=subprocess.PIPE) as process:
        assert install_fiji.runs(fiji)
        assert not install_fiji.runs(other)
        assert not install_fiji.runs(tmp_path / "Fij")
        process.communicate(b"\n")
    assert not install_fiji.runs(fiji)


@pytest.mark.parametrize(
    ("exe", "cmdline", "runs"),
    [
        (None, None, False),
        ("/usr/bin/java", ["java", "-Dimagej.dir={fiji}"], True),
        ("C:/jdk/bin/javaw.exe", ["javaw", "-cp", "{fiji}/jars/ij.jar;x.jar"], True),
        (None, ["java", "-cp", "x.jar:{fiji}:y.jar"], True),
        ("/usr/bin/java", ["java", "-Dimagej.dir={fiji}2"], False),
        ("/usr/bin/vi", ["vi", "{fiji}/README.md"], False),
        ("{fiji}2/fiji-linux-x64", ["fiji"], False),
    ],
)
def test_which_processes_are_this_fiji(fiji, monkeypatch, exe, cmdline, runs):
    def listed(pid):
        words = cmdline and [word.format(fiji=fiji) for word in cmdline]
        info = {"pid": pid, "exe": exe and exe.format(fiji=fiji), "cmdline": words, "cwd": None}
        return lambda names: [SimpleNamespace(info={name: info[name] for name in names})]

    monkeypatch.setattr("psutil.process_iter", listed(os.getpid() + 1))
    assert install_fiji.runs(fiji) is runs
    monkeypatch.setattr("psutil.process_iter", listed(os.getpid()))
    assert not install_fiji.runs(fiji)
