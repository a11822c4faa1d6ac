"""The document that the seccomp agent gets beside the descriptor."""

import json

import pytest

from pyrunc import agent

STATE = '{"ociVersion":"1.3.0","id":"c","status":"creating","pid":7,"bundle":"/b"}'


@pytest.mark.parametrize("metadata", [None, "", "x", 'with "quotes" and \\ and \u00e9'])
def test_the_container_process_state(metadata):
    section = {"listenerPath": "/run/agent"}
    if metadata is not None:
        section["listenerMetadata"] = metadata
    document = json.loads(agent.process_state(section, STATE, 7))
    expected = {"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 7, "state": json.loads(STATE)}
    assert document == expected | ({"metadata": metadata} if metadata else {})
