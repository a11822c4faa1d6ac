"""A container that counts in a file of its root: outside one sees whether it goes on."""

from harness import read, wait_for

# CRIU cannot follow files of the host.
COUNT = "exec > /tmp/out 2>&1; i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done"


def count(bundle):
    try:
        return int(read(f"{bundle.rootfs}/tmp/count") or 0)
    except FileNotFoundError:
        return 0


def goes_on(bundle, beyond):
    wait_for(lambda: count(bundle) > beyond, what=f"a count beyond {beyond}")


def up(pyrunc, bundle, *options, script=COUNT, **run):
    """Create and start it, and wait until it counts; its name."""
    name = pyrunc.up(bundle.sh(script), *options, **run)
    goes_on(bundle, 0)
    return name


def restore(pyrunc, bundle, images, *options, name=None, **run):
    """Bring it back, under a new name if none is given; the name."""
    name = name or pyrunc.id()
    pyrunc(
        "restore", "--bundle", bundle.save(), "--image-path", images, "-d", *options, name, **run
    )
    return name
