"""The schemas and their compiled forms: every example is judged rightly, and both always agree.

jsonschema is the reference. PYRUNC_SPEC_EXAMPLES may name a folder of more examples, laid out like
tests/examples: <schema>/{good,bad}/*.json. PYRUNC_MUTATIONS is how many mutated documents to try.
What is in config/lenient is refused by the schema, but runc accepts it, so pyrunc does.
"""

import copy
import glob
import importlib.util
import json
import os
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pyrunc import _schema, jsonio, normal
from pyrunc.errors import Error

TESTS = os.path.join(os.path.dirname(__file__), "..")
SPEC = importlib.util.spec_from_file_location("compile", f"{TESTS}/../oci-spec/compile.py")
compiler = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(compiler)

KINDS = ("config", "state", "features", "container-process-state")
SCHEMAS = {kind: compiler.load(f"{kind}.schema.json") for kind in KINDS}
FOLDERS = [f"{TESTS}/examples", os.environ.get("PYRUNC_SPEC_EXAMPLES", "")]
mutations = settings(
    max_examples=int(os.environ.get("PYRUNC_MUTATIONS", "100")),
    deadline=None,
    derandomize="PYRUNC_MUTATIONS" not in os.environ,
    database=None,
)


def compiled(schema, name="x.schema.json", fill=False):
    names = {}
    exec(compiler.source(name, schema, {"check": ""}, fill), names)
    return names["check"]


def pattern(validator, expected, instance, schema):
    """ECMA's `$` is the end of the text, Python's `$` is also before a last newline."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$\Z", r"\\Z", expected), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")


def reference(schema):
    """jsonschema's judgement. An integer is written as one: neither 1.0 nor true."""
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extended = jsonschema.validators.extend(base, {"pattern": pattern}, type_checker=types)
    registry = Registry()
    for kind in KINDS:
        # With "$schema", jsonschema would go on with its own class instead of the extended one.
        plain = {key: value for key, value in SCHEMAS[kind].items() if key != "$schema"}
        resource = DRAFT202012.create_resource(plain)
        registry = registry.with_resource(f"{kind}.schema.json", resource)
    return extended(schema, registry=registry)


STRICT = {kind: compiled(SCHEMAS[kind], f"{kind}.schema.json") for kind in KINDS}
REFERENCE = {kind: reference(SCHEMAS[kind]) for kind in KINDS}


def examples(sort, kind="*"):
    paths = []
    for folder in filter(None, FOLDERS):
        assert os.path.isdir(folder), folder
        paths += sorted(glob.glob(f"{folder}/{kind}/{sort}/*.json"))
    return [pytest.param(path, id="/".join(path.split("/")[-3:])) for path in paths]


def read(path):
    with open(path, "rb") as file:
        return jsonio.loads(file.read())


def kind_of(path):
    return path.split("/")[-3]


@pytest.mark.parametrize("path", examples("good"))
def test_a_good_example_is_accepted(path):
    doc = read(path)
    assert STRICT[kind_of(path)](doc, []) is None
    assert next(REFERENCE[kind_of(path)].iter_errors(doc), None) is None


@pytest.mark.parametrize("path", examples("bad"))
def test_a_bad_example_is_refused(path):
    try:
        doc = read(path)
    except Error:
        return
    where = STRICT[kind_of(path)](doc, [])
    assert isinstance(where, str)
    assert not REFERENCE[kind_of(path)].is_valid(doc)


@pytest.mark.parametrize("path", examples("good", "config"))
def test_what_the_schema_accepts_runs(path):
    assert _schema.config(read(path), []) is None


@pytest.mark.parametrize("path", examples("lenient", "config"))
def test_a_lenient_example_is_refused_by_the_schema_and_runs(path):
    doc = read(path)
    assert STRICT["config"](doc, []) is not None
    assert not REFERENCE["config"].is_valid(doc)
    fitted = normal.normalise(doc, "config.json", "config")
    odd = []
    assert _schema.config(fitted, odd) is None
    assert not odd


def test_an_example_for_each_member():
    """everything.json has every member of the schema that means something on Linux."""
    doc = read(f"{TESTS}/examples/config/good/everything.json")

    def visit(schema, value, path):
        while "$ref" in schema:
            schema = SCHEMAS["config"]["$defs"][schema["$ref"].rpartition("/")[2]]
        for name, sub in schema.get("properties", {}).items():
            if path or name not in ("freebsd", "zos", "solaris", "windows", "vm"):
                found = [item[name] for item in value if name in item]
                assert found, f"{path}.{name}"
                visit(sub, found, f"{path}.{name}")
        if "items" in schema:
            visit(schema["items"], [item for items in value for item in items], path)
        if "additionalProperties" in schema:
            visit(schema["additionalProperties"], [i for v in value for i in v.values()], path)

    visit(SCHEMAS["config"], [doc], "")


def test_the_schemas_are_valid_and_open():
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "false" not in json.dumps(schema)


def test_the_generated_module_is_up_to_date_and_imports_nothing():
    with open(_schema.__file__) as file:
        text = file.read()
    assert text == compiler.module()
    assert "import" not in text.replace("'important'", "")
    for name in compiler.ENTRIES:
        assert callable(getattr(_schema, name))


@pytest.mark.parametrize(
    "schema, complaint",
    [
        ({"type": "object", "maxProperties": 1}, "unknown keyword 'maxProperties'"),
        ({"type": "string", "pattern": "^a$"}, "unknown pattern"),
        ({"type": "number"}, "unknown type"),
        ({"type": ["string", "integer"]}, "unknown type"),
        ({}, "unknown type"),
        ({"type": "object", "additionalProperties": False}, "unknown members are legal"),
        ({"$ref": "#/$defs/a", "type": "string"}, "with other keywords"),
        ({"type": "object", "if": {"required": ["a"], "properties": {"a": {"enum": [1]}}},
          "then": {"minProperties": 1}}, "if and then"),
    ],
)  # fmt: skip
def test_what_the_compiler_does_not_know_stops_it(schema, complaint):
    with pytest.raises(SystemExit, match=re.escape(complaint)):
        compiled(schema)


def test_a_keyword_without_policy_stops_the_build():
    with pytest.raises(SystemExit, match="no policy for keyword 'const'"):
        compiler.relax({"properties": {"a": {"const": 1}}})


@pytest.mark.parametrize("expression", compiler.PATTERNS)
@given(text=st.text("ACKMGPRIBLIMT_:KL 019,-cbupx\nÉé٣", max_size=12), data=st.data())
@mutations
def test_a_translated_pattern_is_its_expression(expression, text, data):
    if data.draw(st.booleans()):
        text = data.draw(st.from_regex(expression)) + data.draw(st.sampled_from(["", "\n", "A"]))
    refused = bool(eval(compiler.PATTERNS[expression].format(v="text")))
    assert refused == (not re.search(expression.replace("$", r"\Z"), text))


# --- mutated documents ---

EDGES = [2**n + d for n in (0, 8, 9, 15, 16, 31, 32, 63, 64) for d in (-2, -1, 0, 1)]
JUNK = st.one_of(
    st.sampled_from([None, True, False, 1.0, 0.5, "", "x", "c\n", [], {}, [None], [1], {"a": 1}]),
    st.sampled_from(EDGES + [-edge for edge in EDGES]),
    st.sampled_from(["SCMP_ACT_ALLOW", "RLIMIT_CORE\n", "pid", "private", "1GB", "MB:\n", "CAP_A"]),
).map(copy.deepcopy)  # the lists and objects get mutated, too


def places(value):
    """Every (container, key) in a document."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += places(item)
    return found


def mutate(doc, draw):
    """Change one to three places of doc."""
    for _ in range(draw(st.integers(1, 3))):
        spots = places(doc)
        if not spots:
            return
        box, key = spots[draw(st.integers(0, len(spots) - 1))]
        change = draw(st.sampled_from(["junk", "junk", "delete", "add", "rename", "newline"]))
        if change == "junk":
            box[key] = draw(JUNK)
        elif change == "newline" and isinstance(box[key], str):
            box[key] += "\n"
        elif change == "delete":
            del box[key]
        elif isinstance(box, list):
            box.insert(key, draw(JUNK))
        elif change == "add":
            box[draw(st.sampled_from(["x", "type", "path", "Path"]))] = draw(JUNK)
        elif change == "rename":
            box[key.swapcase()] = box.pop(key)


NAMES = {
    "config": ["everything", "freebsd", "zos", "containerd-cri"],
    "state": ["running", "stopped"],
    "features": ["everything", "unknown"],
    "container-process-state": ["full"],
}
DOCS = {
    kind: [read(f"{TESTS}/examples/{kind}/good/{name}.json") for name in names]
    for kind, names in NAMES.items()
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@mutations
def test_compiled_check_and_jsonschema_agree(kind, data):
    doc = copy.deepcopy(data.draw(st.sampled_from(DOCS[kind])))
    mutate(doc, data.draw)
    assert (STRICT[kind](doc, []) is None) == REFERENCE[kind].is_valid(doc)


def without_required(schema):
    if isinstance(schema, dict):
        return {k: without_required(v) for k, v in schema.items() if k != "required"}
    return schema


LAX = reference(without_required(json.loads(_schema.TEXT)))


@given(data=st.data())
@mutations
def test_the_check_at_run_time_and_jsonschema_agree(data):
    doc = copy.deepcopy(data.draw(st.sampled_from(DOCS["config"])))
    mutate(doc, data.draw)
    assert (_schema.config(doc, []) is None) == LAX.is_valid(doc)


@given(data=st.data())
@mutations
def test_the_run_time_refuses_nothing_that_the_schema_accepts(data):
    doc = copy.deepcopy(data.draw(st.sampled_from(DOCS["config"])))
    mutate(doc, data.draw)
    if STRICT["config"](doc, []) is None:
        assert _schema.config(doc, []) is None
