"""update: flags -> linux.resources, with Go's grammar and complaints."""

import os
import re
import threading

import pytest

from pyrunc import cli
from pyrunc.commands import update
from pyrunc.errors import Error


def requested(line):
    opts = {}
    cli.flags(line.split(), update.COMMAND.options, opts, "update")
    return {key: value for key, value in update.requested(opts).items() if value}


def refused(line):
    with pytest.raises(Error) as caught:
        requested(line)
    return caught.value.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("--memory 50M", {"memory": {"limit": 52428800}}),
        ("--memory -1 --memory-swap=-1", {"memory": {"limit": -1, "swap": -1}}),
        ("--memory-reservation 1g", {"memory": {"reservation": 1 << 30}}),
        ("--memory 0", {"memory": {"limit": 0}}),
        ("--kernel-memory 4 --kernel-memory-tcp 5", {"memory": {"kernel": 4, "kernelTCP": 5}}),
        ("--cpu-quota -1 --cpu-period 7", {"cpu": {"quota": -1, "period": 7}}),
        ("--cpu-share 512 --cpu-burst 5", {"cpu": {"shares": 512, "burst": 5}}),
        (
            "--cpu-rt-runtime 1 --cpu-rt-period 2",
            {"cpu": {"realtimeRuntime": 1, "realtimePeriod": 2}},
        ),
        ("--cpuset-cpus 0-1 --cpuset-mems 0", {"cpu": {"cpus": "0-1", "mems": "0"}}),
        ("--cpu-idle 0", {"cpu": {"idle": 0}}),
        ("--pids-limit 0", {"pids": {"limit": 0}}),
        ("--pids-limit -1", {"pids": {"limit": -1}}),
        ("--blkio-weight 500", {"blockIO": {"weight": 500}}),
        ("--blkio-weight 0", {}),
        ("--memory= --cpu-idle=", {}),
    ],
)
def test_flags(line, expected):
    assert requested(line) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1", -1),
        ("0", 0),
        ("1", 1),
        ("1b", 1),
        ("1B", 1),
        ("2k", 2048),
        ("2kb", 2048),
        ("2KiB", 2048),
        ("50M", 52428800),
        ("1.5g", 3 << 29),
        ("1 g", 1 << 30),
        ("1t", 1 << 40),
        ("1P", 1 << 50),
        (".5k", 512),
        ("1e3", 1000),
        ("99999999p", (1 << 63) - 1),
    ],
)
def test_sizes(text, value):
    assert update.size(text) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "invalid size: 'x'"),
        ("-2", "invalid size: '-2'"),
        ("1x", "invalid suffix: 'x'"),
        ("1bb", "invalid suffix: 'bb'"),
        ("1bib", "invalid suffix: 'bib'"),
        ("1ib", "invalid suffix: 'ib'"),
        ("1kbps", "invalid suffix: 'kbps'"),
        ("1.2.3", 'strconv.ParseFloat: parsing "1.2.3": invalid syntax'),
        ("1_0", 'strconv.ParseFloat: parsing "1_0": invalid syntax'),
        ("0x10", 'strconv.ParseFloat: parsing "0x10": invalid syntax'),
        ("1e400", 'strconv.ParseFloat: parsing "1e400": value out of range'),
        (" 7", 'strconv.ParseFloat: parsing " 7": invalid syntax'),
    ],
)
def test_bad_sizes(text, complaint):
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        update.size(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--memory x", "invalid value for memory: invalid size: 'x'"),
        (
            "--cpu-period x",
            'invalid value for cpu-period: strconv.ParseUint: parsing "x": invalid syntax',
        ),
        (
            "--cpu-period -1",
            'invalid value for cpu-period: strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        (
            "--cpu-share 18446744073709551616",
            "invalid value for cpu-share: strconv.ParseUint: "
            'parsing "18446744073709551616": value out of range',
        ),
        (
            "--cpu-quota 1.5",
            'invalid value for cpu-quota: strconv.ParseInt: parsing "1.5": invalid syntax',
        ),
        (
            "--cpu-quota 9223372036854775808",
            "invalid value for cpu-quota: strconv.ParseInt: "
            'parsing "9223372036854775808": value out of range',
        ),
        (
            "--cpu-idle yes",
            'invalid value for cpu-idle: strconv.ParseInt: parsing "yes": invalid syntax',
        ),
        ("--pids-limit x", 'invalid value "x" for flag -pids-limit: parse error'),
    ],
)
def test_bad_numbers(line, message):
    assert refused(line) == message


def test_a_document_is_read_up_to_its_end_and_no_further():
    """The writer may keep the other end of the pipe open."""
    reader, writer = os.pipe()
    os.write(writer, b' {"memory": {"limit": 5}}\n{')
    assert update.first_value(reader).strip() == b'{"memory": {"limit": 5}}\n{'
    os.close(writer)
    os.close(reader)


def test_a_document_in_pieces():
    reader, writer = os.pipe()
    thread = threading.Thread(target=write_and_close, args=(writer, b"[" + b"1," * 90000 + b"2]"))
    thread.start()  # it is more than a pipe holds, and than one read takes
    assert update.first_value(reader).endswith(b",2]")
    thread.join()
    os.close(reader)


def write_and_close(fd, data):
    with open(fd, "wb") as file:
        file.write(data)


def test_a_document_that_ends_too_soon():
    reader, writer = os.pipe()
    os.write(writer, b'{"memory":')
    os.close(writer)
    assert update.first_value(reader) == b'{"memory":'
    os.close(reader)
