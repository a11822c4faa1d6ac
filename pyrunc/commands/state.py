"""`state`: print a container's state document, in runc's layout to the byte."""

from pyrunc.commands import Command

COMMAND = Command("state", "output the state of a container")


def run(opts: dict) -> None:
    """Print the state of the container opts["args"][0]; no newline at the end."""
    import os

    from pyrunc import container, files

    root = opts["root"]
    record = container.load(root, opts["args"][0])
    text = render(container.state(root, record))
    files.write_all(1, os.fsencode(text))


def render(state: "dict[str, object]") -> str:
    """JSON with two spaces of indent, as Go's MarshalIndent writes it."""
    from pyrunc import jsonio

    lines = []
    for key, value in state.items():
        if isinstance(value, dict):
            inner = ",\n".join(
                f"    {jsonio.dumps(k)}: {jsonio.dumps(v)}" for k, v in value.items()
            )
            lines.append(f"  {jsonio.dumps(key)}: {{\n{inner}\n  }}")
        else:
            lines.append(f"  {jsonio.dumps(key)}: {jsonio.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"
