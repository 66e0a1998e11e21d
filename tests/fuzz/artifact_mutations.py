"""Artifacts that went wrong: damaged on the way, or made so on purpose and sealed again with a digest that holds.

The same seed and number give the same mutation. It knows no loader.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from schemas.artifact import METADATA_KEY, ZERO_DIGEST, DigestError, sealed
from tests.artifacts import artifact_model, sealed_bytes


class Mutation(NamedTuple):
    """A file that no worker may take; or, where it `may_pass`, one that it may find harmless, but must survive."""

    kind: str
    file: bytes
    original: bytes
    may_pass: bool = False


_KNOBS: Sequence[Mapping[str, object]] = (
    {},
    {"features": ("a", "b", "c"), "window": 7, "min_length": 3, "with_elapsed": True},
    {"entities": ("m1", "m2"), "with_step_score": True, "max_gap_s": 60.0},
    {"kind": "tabular", "window": 1, "features": tuple(f"f{number}" for number in range(20))},
    {"kind": "log", "features": ("template",), "nan_above": 50.0},
)


@cache
def models() -> Sequence[onnx.ModelProto]:
    """Good ones, of every shape that the contract knows; not to be changed."""
    return [artifact_model(**knobs) for knobs in _KNOBS]


@cache
def originals() -> Sequence[bytes]:
    """The same as files."""
    return [sealed_bytes(model) for model in models()]


def mutation(seed: int, number: int) -> Mutation:
    """One of as many as anyone likes."""
    chance = Random(f"{seed}-{number}")
    place = chance.randrange(len(originals()))
    original = originals()[place]
    family = _FAMILIES[number % len(_FAMILIES)]
    kind = chance.choice(list(family))
    while True:
        if family is _FORGERIES:
            model = onnx.ModelProto()
            model.CopyFrom(models()[place])
            _FORGERIES[kind](model, chance)
            file = _sealed_again(model.SerializeToString())
        else:
            file = family[kind](original, chance)
        if file not in originals():
            return Mutation(
                f"{kind}, sealed again" if family is _RESEALED else kind, file, original, family is _RESEALED
            )


def may_pass(count: int) -> int:
    """How many of the first so many mutations may pass: those that are sealed again."""
    return sum(_FAMILIES[number % len(_FAMILIES)] is _RESEALED for number in range(count))


def _sealed_again(file: bytes) -> bytes:
    """With a digest that holds, where there is a place for one."""
    try:
        return sealed(file)
    except DigestError:
        return file


# Damage: the digest does not hold any more --------------------------------------------------------------------------


def _flipped(file: bytes, chance: Random) -> bytes:
    damaged = bytearray(file)
    for _ in range(chance.choice([1, 1, 1, 2, 8, 64])):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _truncated(file: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(file))
    return file[:place] if chance.random() < 0.8 else file[place + 1 :]


def _spliced(file: bytes, chance: Random) -> bytes:
    other = chance.choice(originals())
    return file[: chance.randrange(len(file))] + other[chance.randrange(len(other)) :]


def _zeroed(file: bytes, chance: Random) -> bytes:
    place, length = chance.randrange(len(file)), chance.choice([1, 16, 512, 4096])
    return file[:place] + bytes(min(length, len(file) - place)) + file[place + length :]


def _moved(file: bytes, chance: Random) -> bytes:
    one, two, three = sorted(chance.randrange(len(file)) for _ in range(3))
    return file[:one] + file[two:three] + file[one:two] + file[three:]


def _longer(file: bytes, chance: Random) -> bytes:
    place = chance.choice([len(file), chance.randrange(len(file))])
    return file[:place] + chance.randbytes(chance.choice([1, 2, 100])) + file[place:]


def _with_another_digest(file: bytes, chance: Random) -> bytes:
    return file.replace(
        file[(place := file.index(b'"digest":"') + 10) : place + 64], chance.randbytes(32).hex().encode()
    )


def _no_model(file: bytes, chance: Random) -> bytes:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + chance.randbytes(32).hex().encode() + b"\n"
    return chance.choice([b"", pointer, b"<!DOCTYPE html>", chance.randbytes(len(file)), b"\x80\x04\x95cos\nsystem\n."])


_DAMAGES: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": _flipped,
    "truncated": _truncated,
    "two artifacts spliced": _spliced,
    "bytes zeroed": _zeroed,
    "parts moved": _moved,
    "longer": _longer,
    "another digest": _with_another_digest,
    "no model": _no_model,
}


def _resealed(damage: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    return lambda file, chance: _sealed_again(damage(file, chance))


_RESEALED = {
    kind: _resealed(_DAMAGES[kind])
    for kind in ("bits flipped", "two artifacts spliced", "bytes zeroed", "parts moved", "longer")
}


# Forgery: a digest that holds over what no worker may run -----------------------------------------------------------

_Forgery = Callable[[onnx.ModelProto, Random], None]


def _node(model: onnx.ModelProto, chance: Random) -> onnx.NodeProto:
    return model.graph.node[chance.randrange(len(model.graph.node))]


def _constant(model: onnx.ModelProto, chance: Random) -> onnx.TensorProto:
    return model.graph.initializer[chance.randrange(len(model.graph.initializer))]


def _foreign_domain(model: onnx.ModelProto, chance: Random) -> None:
    node = _node(model, chance)
    node.domain = chance.choice(
        ["com.microsoft", "com.example.custom", "org.pytorch.aten", "ai.onnx.training", "\u00e9"]
    )
    if chance.random() < 0.5:
        model.opset_import.add(domain=node.domain, version=1)


def _unknown_operator(model: onnx.ModelProto, chance: Random) -> None:
    _node(model, chance).op_type = chance.choice(["Frobnicate", "PyOp", "ATen", "", "mul", "FusedMatMul"])


def _own_function(model: onnx.ModelProto, chance: Random) -> None:
    opset = helper.make_opsetid("", 20)
    name, domain = chance.choice(["Mul", "Own"]), chance.choice(["", "own"])
    body = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(helper.make_function(domain, name, ["a"], ["b"], body, [opset]))


def _huge_dimensions(model: onnx.ModelProto, chance: Random) -> None:
    sizes = [
        [1 << 40],
        [1 << 62, 1 << 62],
        [1 << 31, 1 << 31, 4],
        [-1],
        [-(1 << 40), 2],
        [1] * 9,
        [1] * 1000,
        [1 << 30],
    ]
    del (constant := _constant(model, chance)).dims[:]
    constant.dims.extend(chance.choice(sizes))


def _outside_data(model: onnx.ModelProto, chance: Random) -> None:
    """External data, in a constant of the graph or of a node, with and without a value beside it."""
    constant = _constant(model, chance)
    if chance.random() < 0.3:
        hidden = helper.make_node("Constant", [], ["outside"], value=constant)
        model.graph.node.insert(0, hidden)
        constant = model.graph.node[0].attribute[0].t
    paths = ["weights.bin", "../../etc/passwd", "/etc/passwd", "/proc/self/mem", "a/../../b", "..\\..\\b", "\x00", ""]
    for key, value in (("location", chance.choice(paths)), ("offset", "0"), ("length", str(1 << chance.randrange(62)))):
        constant.external_data.add(key=key, value=value)
    if chance.random() < 0.7:
        constant.data_location = TensorProto.EXTERNAL
    if chance.random() < 0.5:
        constant.ClearField("raw_data")


def _two_manifests(model: onnx.ModelProto, chance: Random) -> None:
    text = model.metadata_props[0].value
    other = chance.choice([text, "{}", "", text.replace(ZERO_DIGEST, "f" * 64), text.replace('"digest"', '"Digest"')])
    model.metadata_props.add(key=METADATA_KEY, value=other)


def _no_manifest(model: onnx.ModelProto, chance: Random) -> None:
    if chance.random() < 0.5:
        model.metadata_props[0].key = chance.choice(["", "anomaly-worker", "ANOMALY_WORKER"])
    else:
        del model.metadata_props[:]


def _other_manifest(model: onnx.ModelProto, chance: Random) -> None:
    """That of another model, whose windows, features, or golden outputs are others."""
    others = [other for other in models() if other.metadata_props[0].value != model.metadata_props[0].value]
    model.metadata_props[0].value = chance.choice(others).metadata_props[0].value


def _spoilt_manifest(model: onnx.ModelProto, chance: Random) -> None:
    replaced = chance.choice(
        [
            ('"contract_version":1', '"contract_version":2'),
            ('"tail_scale":', '"tail_scale":-'),
            ('"window":', '"window":1000000000'),
            ('"window":', '"window":-'),
            ('"min_length":', '"min_length":99'),
            ('"alarm_rate":', '"alarm_rate":9'),
            ('"alarm_rate":', '"alarm_rate":NaN,"other":'),
            ('"shape":[', '"shape":[99,'),
            ('"shape":[', '"shape":[-1,'),
            ('"shape":[', '"shape":[9223372036854775807,9223372036854775807,'),
            ('"data":"', '"data":"!'),
            ('"dtype":"float32"', '"dtype":"int64"'),
            ('"golden":', '"gold":'),
            ('"score":{"shape"', '"scores":{"shape"'),
            ('"kind":"', '"kind":"un'),
            ('"name":"', '"unknown":1,"name":"'),
            ('"sha256":"', '"sha256":"../'),
            ("{", "[" * 100_000),
            ("}", ""),
        ]
    )
    model.metadata_props[0].value = model.metadata_props[0].value.replace(*replaced, 1)


def _old_opset(model: onnx.ModelProto, chance: Random) -> None:
    if chance.random() < 0.3:
        del model.opset_import[:]
    else:
        model.opset_import[0].version = chance.choice([0, 1, 17, -1, 1 << 40])


def _random_operator(model: onnx.ModelProto, chance: Random) -> None:
    node = helper.make_node(
        chance.choice(["RandomNormal", "RandomUniform"]), [], ["noise"], shape=[1], dtype=TensorProto.FLOAT
    )
    model.graph.node.insert(0, node)


def _other_interface(model: onnx.ModelProto, chance: Random) -> None:
    values = chance.choice([model.graph.input, model.graph.output])
    value = values[chance.randrange(4) % len(values)]  # one of those that are required, or an input
    kind = chance.randrange(6)
    if kind == 0:
        value.name += "_other"
    elif kind == 1:
        value.type.tensor_type.elem_type = chance.choice([TensorProto.DOUBLE, TensorProto.STRING, 0, 999])
    elif kind == 2:
        value.type.tensor_type.shape.dim[0].dim_value = chance.choice([1, 0, -1, 1 << 62])
    elif kind == 3:
        value.type.tensor_type.shape.dim.add(dim_value=2)
    elif kind == 4:
        values.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch"]))
    else:
        values.remove(value)


def _deep_graphs(model: onnx.ModelProto, chance: Random) -> None:
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(chance.choice([9, 15, 25])):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "outer", [], [])
    model.graph.node.extend(graph.node)


def _many_nodes(model: onnx.ModelProto, chance: Random) -> None:
    node = helper.make_node("Identity", ["window"], ["copy"])
    model.graph.node.extend([node] * chance.choice([2, 50_001]))


def _broken_wires(model: onnx.ModelProto, chance: Random) -> None:
    node = _node(model, chance)
    kind = chance.randrange(3)
    if kind == 0:
        node.input[0] = "nowhere"
    elif kind == 1:
        node.input[0] = node.output[0]
    else:
        del model.graph.node[0]


def _for_training(model: onnx.ModelProto, _: Random) -> None:
    model.training_info.add()


def _built_in_window(model: onnx.ModelProto, chance: Random) -> None:
    _constant(model, chance).name = "window"


_FORGERIES: Mapping[str, _Forgery] = {
    "a foreign domain": _foreign_domain,
    "an unknown operator": _unknown_operator,
    "a function of its own": _own_function,
    "huge dimensions": _huge_dimensions,
    "data outside": _outside_data,
    "two manifests": _two_manifests,
    "no manifest": _no_manifest,
    "another's manifest": _other_manifest,
    "a spoilt manifest": _spoilt_manifest,
    "an old opset": _old_opset,
    "a random operator": _random_operator,
    "another interface": _other_interface,
    "deep graphs": _deep_graphs,
    "many nodes": _many_nodes,
    "broken wires": _broken_wires,
    "training": _for_training,
    "a built-in window": _built_in_window,
}

_FAMILIES = (_DAMAGES, _FORGERIES, _RESEALED)
"""In turn."""
