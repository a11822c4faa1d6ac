"""log: runc's text, JSON and terminal forms, byte by byte where callers parse them."""

import json
import os
import re
import time

import pytest

from pyrunc import log

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"


@pytest.fixture(autouse=True)
def stderr_log():
    log.setup("", "text")
    yield
    log.setup("", "text")


def lines(tmp_path, fmt, level, *calls):
    """What the calls leave in a log file."""
    path = str(tmp_path / "log")
    log.setup(path, fmt, level)
    for call in calls:
        call()
    with open(path) as file:
        return file.read().splitlines()


def test_text(tmp_path):
    (line,) = lines(tmp_path, "text", "info", lambda: log.error("container does not exist"))
    assert re.fullmatch(rf'time="{TIME}" level=error msg="container does not exist"', line)


def test_text_quotes_only_what_it_must(tmp_path):
    say = log.warning
    found = lines(
        tmp_path, "text", "info", lambda: say("a/b-c_d.e@f^g+9"), lambda: say('say "x"\n')
    )
    assert found[0].endswith(" level=warning msg=a/b-c_d.e@f^g+9")
    assert found[1].endswith(r' level=warning msg="say \"x\"\n"')


def test_text_sorts_the_extra_fields(tmp_path):
    call = lambda: log.warning("x", status=3, error="no such process", pid=7)  # noqa: E731
    (line,) = lines(tmp_path, "text", "info", call)
    assert line.endswith(' level=warning msg=x error="no such process" pid=7 status=3')


def test_debug_names_the_caller(tmp_path):
    (line,) = lines(tmp_path, "text", "debug", lambda: log.debug("x"))
    path = re.escape(__file__)
    func = r'func="(tests\.)?(unit\.)?test_log\.test_debug_names_the_caller\.<locals>\.<lambda>"'
    assert re.fullmatch(rf'time="{TIME}" level=debug msg=x {func} file="{path}:\d+"', line)


def test_debug_lines_need_debug(tmp_path):
    assert lines(tmp_path, "text", "info", lambda: log.debug("x")) == []
    log.setup("", "text", "debug")
    assert log.debugging()


def test_who_is_told_instead_has_no_debug_lines_either(monkeypatch):
    told = []
    monkeypatch.setitem(log._sink, "tell", lambda *line: told.append(line))
    log.debug("x")
    log.relay("debug", "y")
    log.warning("z")
    assert told == [("warning", "z")]


@pytest.mark.parametrize(
    ("level", "kept"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_a_level_keeps_what_is_at_least_that(tmp_path, level, kept):
    calls = [getattr(log, name) for name in log.LEVELS]
    found = lines(tmp_path, "json", level, *[lambda call=call: call("x") for call in calls])
    assert [json.loads(line)["level"] for line in found] == list(log.LEVELS[-kept:])


def test_a_file_may_be_called_one(tmp_path):
    log.setup(f"file:{tmp_path}/log", "text")
    log.error("x")
    assert (tmp_path / "log").read_text().endswith(" level=error msg=x\n")


def test_json_sorts_its_keys(tmp_path):
    (line,) = lines(tmp_path, "json", "info", lambda: log.warning("x", pid=7, ok=True, a="b"))
    assert list(json.loads(line)) == ["a", "level", "msg", "ok", "pid", "time"]
    assert re.fullmatch(
        rf'{{"a":"b","level":"warning","msg":"x","ok":true,"pid":7,"time":"{TIME}"}}', line
    )


def test_json_with_debug(tmp_path):
    (line,) = lines(tmp_path, "json", "debug", lambda: log.error("x"))
    entry = json.loads(line)
    assert list(entry) == ["file", "func", "level", "msg", "time"]
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+", entry["file"])


def test_json_escapes_like_go(tmp_path):
    text = '<a> & "b"\n\t\x01\u2028é' + os.fsdecode(b"\xff")
    (line,) = lines(tmp_path, "json", "info", lambda: log.error(text))
    shown = r'"msg":"\u003ca\u003e \u0026 \"b\"\n\t\u0001\u2028é\ufffd"'
    assert shown in line
    assert json.loads(line)["msg"] == text[:-1] + "\ufffd"


def test_relayed_lines_have_no_caller(tmp_path):
    calls = [lambda: log.relay("info", "x"), lambda: log.relay("debug", "y")]
    found = [json.loads(line) for line in lines(tmp_path, "json", "debug", *calls)]
    assert [entry["level"] for entry in found] == ["info", "debug"]
    assert all("func" not in entry for entry in found)
    assert len(lines(tmp_path / "..", "json", "info", calls[1])) == 0


def test_a_line_is_one_write_to_the_end_of_the_file(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    log.setup(str(path), "text")
    log.error("one")
    with open(path, "a") as other:
        other.write("another process\n")
    log.error("two")
    found = path.read_text().splitlines()
    assert found[0] == "before"
    assert found[2] == "another process"
    assert found[3].endswith("msg=two")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_no_error():
    log.setup("/dev/full", "json")
    log.error("x")


def test_stderr_is_the_default(capfd):
    assert log.to_stderr()
    log.error("x")
    assert capfd.readouterr().err.endswith(" level=error msg=x\n")
    log.setup("/dev/null", "text")
    assert not log.to_stderr()


def on_terminal(*calls, debug=False):
    """What the calls write to a terminal that is stderr."""
    ours, theirs = os.openpty()
    saved = os.dup(2)
    try:
        os.dup2(theirs, 2)
        log.setup("", "text", "debug" if debug else "info")
        for call in calls:
            call()
        text = ""
        while text.count("\n") < len(calls):
            text += os.read(ours, 4096).decode().replace("\r\n", "\n")
        return text
    finally:
        os.dup2(saved, 2)
        for fd in (ours, theirs, saved):
            os.close(fd)


def test_a_terminal_gets_colours():
    text = on_terminal(lambda: log.error("no"), lambda: log.warning("x", pid=7))
    assert text == (
        f"\x1b[31mERRO\x1b[0m[0000] {'no':<44} \n"
        f"\x1b[33mWARN\x1b[0m[0000] {'x':<44}  \x1b[33mpid\x1b[0m=7\n"
    )


def test_a_terminal_with_debug_names_the_caller():
    text = on_terminal(lambda: log.debug("x"), debug=True)
    assert re.match(
        rf"\x1b\[37mDEBU\x1b\[0m\[0000\] {re.escape(__file__)}:\d+ (tests\.)?(unit\.)?test_log\.",
        text,
    )


def test_a_log_file_that_is_a_terminal_stays_plain(tmp_path):
    ours, theirs = os.openpty()
    try:
        log.setup(os.ttyname(theirs), "text")
        log.error("x")
        assert os.read(ours, 4096).startswith(b'time="')
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("zone", "offset"),
    [("UTC0", "Z"), ("XXX-2", "+02:00"), ("XXX3:30", "-03:30"), ("XXX-5:45", "+05:45")],
)
def test_the_time_is_local_with_its_offset(zone, offset, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert log.timestamp().endswith(offset)
        assert re.fullmatch(TIME, log.timestamp())
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v\x00\x7f", r'"\a\b\f\n\r\t\v\x00\x7f"'),
        ("é世", '"é世"'),
        ("\u200b\U000e0001", r'"\u200b\U000e0001"'),
        (os.fsdecode(b"\xff\xfe"), r'"\xff\xfe"'),
    ],
)
def test_quote_is_go_q(text, quoted):
    assert log.quote(text) == quoted
