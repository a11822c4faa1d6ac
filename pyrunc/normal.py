"""The slow half of spec.py, loaded only for a document that the compiled check did not take (pure).

Go decodes JSON into structures, which makes it lenient: names match in any case, null and unknown
members are as if they were absent, absent members are zero. normalise() brings such a document to
the form all other modules expect, or says what is wrong with it: the path, what was expected there,
what was found.
"""

from pyrunc import _schema, jsonio
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ZERO = {"string": "", "integer": 0, "boolean": False}
KINDS = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "array": "an array",
    "object": "an object",
}
TELLING = 60  # characters of a value that are shown


def normalise(doc: object, name: str, kind: str) -> "dict[str, Any]":
    """The document in plain form. name: the file it is from; kind: a function of _schema."""
    schema = _load(kind)
    fitted = _fit(doc, schema, schema)
    odd: list[str] = []
    where = getattr(_schema, kind)(fitted, odd)
    if where is not None:
        raise Error(f"{name}: {explain(fitted, kind, where)}")
    if odd:
        raise Error(f"{name}: {odd[0].lstrip('.')} was not understood: this is a bug in pyrunc")
    assert isinstance(fitted, dict)
    return fitted


def _load(kind: str) -> "dict[str, Any]":
    """The schema of that kind of document, with all definitions."""
    schema: dict[str, Any] = jsonio.loads(_schema.TEXT.encode())
    if kind != "config":
        schema = {**schema["$defs"][kind], "$defs": schema["$defs"]}
    return schema


def _fit(value: object, schema: "dict[str, Any]", whole: "dict[str, Any]") -> object:
    """value as Go would store it in a structure of that schema; a wrong type is left as it is."""
    schema = _resolve(schema, whole)
    if isinstance(value, dict) and schema["type"] == "object":
        return _fit_object(value, schema, whole)
    if isinstance(value, list) and "items" in schema:
        items = schema["items"]
        return [_zero(items, whole) if item is None else _fit(item, items, whole) for item in value]
    return value


def _fit_object(
    value: "dict[str, object]", schema: "dict[str, Any]", whole: "dict[str, Any]"
) -> "dict[str, object]":
    rest = schema.get("additionalProperties")
    if rest is not None:
        return {
            key: _zero(rest, whole) if item is None else _fit(item, rest, whole)
            for key, item in value.items()
        }
    members = schema.get("properties")
    if members is None:
        return value  # nobody looks inside
    folded = {_fold(key): key for key in members}
    found: dict[str, object] = {}
    for given, item in value.items():
        key = given if given in members else folded.get(_fold(given))
        if key is not None:
            found[key] = jsonio.merge(found[key], item) if key in found else item
    made = {key: _fit(item, members[key], whole) for key, item in found.items() if item is not None}
    for key in schema.get("required", ()):
        if key not in made:
            made[key] = _zero(members[key], whole)
    return made


def _resolve(schema: "dict[str, Any]", whole: "dict[str, Any]") -> "dict[str, Any]":
    while "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _zero(schema: "dict[str, Any]", whole: "dict[str, Any]") -> object:
    """Go's zero value."""
    kind = _resolve(schema, whole)["type"]
    if kind == "array":
        return []
    return _fit({}, schema, whole) if kind == "object" else ZERO[kind]


def _fold(name: str) -> str:
    """name as encoding/json compares it: simple case folding, with its two special letters."""
    return name.lower().replace("\u017f", "s").replace("\u212a", "k")


def explain(doc: object, kind: str, where: str) -> str:
    """Why the document has the wrong shape.  where: the place that _schema found."""
    place = where.lstrip(".") or kind
    try:
        import jsonschema
    except ImportError:
        return f"{place}: has the wrong type, or is out of range"
    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = jsonschema.validators.extend
    validator = extend(base, type_checker=checker)(_load(kind))
    for error in validator.iter_errors(doc):
        return f"{_path(error.absolute_path) or kind}: {_complaint(error)}"
    return (
        f"{place}: pyrunc refuses this, but finds nothing wrong with it when asked why: "
        "this is a bug in pyrunc, please report it"
    )


def _path(parts: "Any") -> str:
    """`mounts[3].options[0]`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isascii() and part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{jsonio.dumps(part)}]"
    return text.removeprefix(".")


def _complaint(error: "Any") -> str:
    schema = error.schema
    expected = KINDS.get(str(schema.get("type")))
    if expected is None:
        return str(error.message)
    if "minimum" in schema:
        expected += f" from {schema['minimum']} to {schema['maximum']}"
    return f"expected {expected}, found {_show(error.instance)}"


def _show(value: object) -> str:
    if isinstance(value, float):
        return str(value)
    if isinstance(value, dict | list):
        return KINDS["object" if isinstance(value, dict) else "array"]
    text = jsonio.dumps(value)
    return text if len(text) <= TELLING else text[:TELLING] + "..."
