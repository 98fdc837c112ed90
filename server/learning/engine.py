# SPDX-License-Identifier: Apache-2.0
"""The real engine: importer, quantizer, generator, host build and emulators behind one port."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.errors import (
    INFERENCE_ONLY,
    CodegenError,
    ExportError,
    QuantizeError,
    UnsupportedOperatorError,
)
from codegen.export import (
    export_exact,
    export_network_exact,
    export_qdq,
)
from codegen.generate import generate
from codegen.importer import import_onnx
from codegen.layouts import FIELD, LAYOUTS, arrange
from codegen.quantize.options import MAX_CLASSES
from device.harness.boards import BOARDS
from device.twin import state as state_bytes
from device.twin.inference import InferenceModel, is_inference_only, read_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from server.errors import (
    InvalidInputError,
    Issue,
    ModelRejectedError,
    OperatorUnsupportedError,
)
from server.learning.board_tests import resource_report, run_device_test
from server.learning.chunks import open_checkpoint, resume, steps_of, train_chunk
from server.learning.firmwares import (
    board_info,
    build_field,
    build_firmware,
    cache_folder,
    device_board,
    field_binary,
    field_sources,
    get_board,
    host_learner,
    with_names,
    write_sources,
)
from server.learning.growing import require_block, require_expansion
from server.learning.inspecting import Inspection
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.methods import (
    NEAREST_MEAN,
    RECIPES,
    Method,
    wrong_option,
)
from server.learning.networks import (
    check_network_options,
    learning_model,
    network_files,
    no_learner,
    quantize_network,
    run_network_test,
)
from server.learning.packets import make_packet
from server.learning.parts import PARTS
from server.learning.ports import (
    BoardInfo,
    Calibration,
    Chunk,
    DeviceReport,
    DeviceTask,
    Float32Array,
    ImportedModel,
    Int64Array,
    IntModelArtifact,
    Json,
    Learner,
    LearnTask,
    OnnxForm,
    Packet,
    PacketSigner,
    PacketTask,
    StopSignal,
)
from server.learning.quantizing import (
    as_invalid,
    check_choices,
    layer_rows,
    make_model,
    parse_options,
    quantize_report,
    raw_values,
)
from server.learning.ranges import count_clipped, raw_ranges
from server.learning.sessions import collect, restore
from server.learning.stopping import check_stop
from server.settings import Settings

STATE_README = """\
# What this version has learned

The sources beside this folder boot as the model was when it was quantized. This version knows
{classes} classes and {exemplars} exemplars. Give them to the running device: IMPORT_BEGIN,
IMPORT_DATA and IMPORT_END with model.bin, PUT_EXEMPLAR for every exemplar of learner.bin, COMMIT
(device/SPEC.md 9 and 10; in Python: server.learning.sessions.deliver). Its state hash is then
{digest}.
"""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


class HadaptEngine(Inspection):
    """Engine over the project's own parts; see ports.Engine for the contract."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.cache = settings.cache_dir if settings else cache_folder()

    def boards(self) -> Sequence[BoardInfo]:
        """Every board, the smallest RAM first."""
        targets = [b for b in BOARDS.values() if not b.is_host]
        return [board_info(b) for b in sorted(targets, key=lambda b: (b.ram_bytes, b.code_bytes))]

    def parts(self) -> Sequence[BoardInfo]:
        """Common microcontrollers, as parts.PARTS has them."""
        return [board_info(part.board()) for part in PARTS.values()]

    def board(self, name: str) -> BoardInfo:
        """See Engine.board."""
        return board_info(get_board(name))

    def import_model(self, onnx: bytes, options: Mapping[str, Any] | None = None) -> ImportedModel:
        """See Engine.import_model."""
        chosen = options or {}
        try:
            graph = import_onnx(onnx, inference_only=chosen.get("inference_only") is True)
        except UnsupportedOperatorError as error:
            raise OperatorUnsupportedError(str(error), [_issue(error)]) from error
        except CodegenError as error:
            raise ModelRejectedError(str(error), [_issue(error)]) from error
        if graph.n_classes > MAX_CLASSES:
            expected = f"at most {MAX_CLASSES} classes; {INFERENCE_ONLY}"
            raise ModelRejectedError(
                f"The network has {graph.n_classes} outputs; expected {expected}.",
                [Issue(f"{graph.n_classes} outputs", "the last layer", expected)],
            )
        layers = layer_rows(graph)
        summary = {"name": graph.name, "layers": layers, "weights": graph.n_weights}
        if graph.dense_layers:
            check_choices(graph, chosen)
        else:
            check_network_options(chosen)
        values = raw_values(graph, chosen)
        return ImportedModel(values, graph.n_classes, graph.class_names, summary)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See Engine.check_options."""
        parse_options(options)

    def quantize(
        self, onnx: bytes, calibration: Calibration, options: Mapping[str, Any]
    ) -> IntModelArtifact:
        """Make the integer model."""
        chosen = parse_options(options)
        if chosen.inference_only:
            return quantize_network(onnx, calibration, chosen)
        graph = import_onnx(onnx)
        try:
            model = make_model(graph, calibration, chosen)
        except QuantizeError as error:
            raise as_invalid(error) from error
        low, high = raw_ranges(model)
        return IntModelArtifact(
            data=model.to_bytes(),
            max_classes=model.max_classes,
            feature_min=float(low.min()),
            feature_max=float(high.max()),
            report=quantize_report(graph, model, calibration),
        )

    def first_learner(self, int_model: bytes, calibration: Calibration) -> Learner:
        """The learner as a freshly booted firmware holds it."""
        if is_inference_only(int_model):
            return no_learner(int_model)
        model = IntModel.from_bytes(int_model)
        twin = TwinLearner(model)
        data = LearnerData(twin.export_state(), twin.state_hash(), initial_exemplars(model))
        return _learner(data)

    def check_update(
        self, int_model: bytes, method: Method, batch: int | None, options: Mapping[str, Any]
    ) -> None:
        """See Engine.check_update."""
        model = learning_model(int_model, "update")
        if batch not in (None, model.arithmetic.batch):
            raise InvalidInputError(
                "The batch size is fixed when a model is quantized.",
                [Issue(f"batch {batch}", "batch", str(model.arithmetic.batch))],
            )
        wrong = wrong_option(method, dict(options))
        if wrong is not None:
            name, what, expected = wrong
            raise InvalidInputError(
                f"Option {name} of an update by {method}: {what}; expected {expected}.",
                [Issue(what, f"options.{name}", expected)],
            )
        require_head(model, method)

    def start(self, task: LearnTask) -> Chunk:
        """Check the session; nothing is trained yet."""
        self.check_update(task.int_model, task.method, task.batch, task.options)
        model = IntModel.from_bytes(task.int_model)
        if task.class_count > model.max_classes:
            expected = f"at most {model.max_classes}"
            issue = Issue(f"{task.class_count} classes", "y", expected)
            raise InvalidInputError("The model has no room for so many classes.", [issue])
        require_block(model, task.method, task.learner)
        metrics = {"clipped_values": count_clipped(model, task.x)}
        return Chunk(checkpoint=b"", steps_done=0, done=steps_of(task) == 0, metrics=metrics)

    def train(self, task: LearnTask, checkpoint: bytes, steps: int, stop: StopSignal) -> Chunk:
        """Train at most `steps` more steps on the host build of the firmware."""
        return train_chunk(task, checkpoint, steps, stop, self.cache)

    def finish(self, task: LearnTask, checkpoint: bytes) -> Learner:
        """Commit the session on the host build."""
        model = IntModel.from_bytes(task.int_model)
        with host_learner(model, len(task.x), self.cache) as device:
            resume(device, model, task, open_checkpoint(checkpoint)[1])
            digest = device.commit(*RECIPES[task.method].correction)
            data = collect(device, digest, device.info().samples)
        return _learner(data)

    def predict(
        self,
        int_model: bytes,
        learner: bytes,
        method: Method,
        x: Float32Array,
        stop: StopSignal,
    ) -> Int64Array:
        """Class slots as the device predicts them."""
        model = learning_model(int_model, "predicted class")
        head = require_head(model, method)
        classes = np.zeros(len(x), np.int64)
        with host_learner(model, 0, self.cache) as device:
            restore(device, initial_exemplars(model), LearnerData.from_bytes(learner))
            for i, sample in enumerate(raw_samples(model, x)):
                check_stop(stop)
                classes[i] = device.infer(sample, head)[0]
        return classes

    def export_onnx(
        self, int_model: bytes, learner: bytes, form: OnnxForm, class_names: Sequence[str]
    ) -> bytes:
        """The integer model with the learner's weights as ONNX."""
        if is_inference_only(int_model):
            if form != "exact":
                learning_model(int_model, f"{form} form, only the exact one")
            exported = export_network_exact(InferenceModel.from_bytes(int_model))
            return bytes(exported.SerializeToString(deterministic=True))
        trained = IntModel.from_bytes(int_model)
        model = with_state(trained, LearnerData.from_bytes(learner), class_names)
        try:
            proto = export_exact(model) if form == "exact" else export_qdq(model)
        except ExportError as error:
            raise as_invalid(error) from error
        return bytes(proto.SerializeToString(deterministic=True))

    def generate(
        self,
        int_model: bytes,
        learner: bytes,
        board: str,
        layout: str,
        class_names: Sequence[str] = (),
    ) -> bytes:
        """A zip of the firmware's sources and of the learner's state."""
        if layout not in LAYOUTS:
            raise InvalidInputError(
                f"There is no layout {layout!r}.",
                [Issue("unknown layout", "layout", f"one of {', '.join(LAYOUTS)}")],
            )
        target = device_board(board)
        if is_inference_only(int_model):
            network = InferenceModel.from_bytes(int_model)
            return zip_bytes(network_files(network, target, layout, self.cache))
        model = IntModel.from_bytes(int_model)
        if layout == FIELD:
            build_field(model, target, self.cache)  # refuses what does not fit
            sources = field_sources(model, target, self.cache)
        else:
            build_firmware(model, target, self.cache)
            sources = generate(model, target)
        files = arrange(with_names(sources, class_names), layout, model, target.name)
        data = LearnerData.from_bytes(learner)
        files["state/model.bin"] = data.state
        files["state/learner.bin"] = data.to_bytes()
        files["state/README.md"] = STATE_README.format(
            classes=data.n_classes, digest=data.state_hash.hex(), exemplars=len(data.exemplars)
        ).encode()
        return zip_bytes(files)

    def model_id(self, int_model: bytes) -> bytes:
        """See Engine.model_id."""
        return read_model(int_model).model_id

    def image(self, int_model: bytes, board: str) -> bytes:
        """See Engine.image."""
        return field_binary(
            learning_model(int_model, "image of a field device"), device_board(board), self.cache
        )

    def resources(self, int_model: bytes, board: str, stop: StopSignal) -> Json:
        """Bytes of the linked firmware, and what the generator says of its memory."""
        model = read_model(int_model)
        target = get_board(board)
        firmware = build_firmware(model, target, self.cache)
        check_stop(stop)
        report = resource_report(model, target, firmware)
        sources = write_sources(model, target, self.cache)
        manifest = json.loads((sources / "manifest.json").read_text())
        return {**report, "manifest": manifest}

    def device_test(self, task: DeviceTask, stop: StopSignal) -> DeviceReport:
        """Build the firmware, run it in the board's emulator, compare with the host."""
        tested = run_network_test if is_inference_only(task.int_model) else run_device_test
        return tested(task, self.cache, stop)

    def packet(self, task: PacketTask, signer: PacketSigner) -> Packet:
        """Make and sign a packet."""
        return make_packet(task, signer)


def with_state(model: IntModel, learner: LearnerData, class_names: Sequence[str]) -> IntModel:
    """A model whose constants are a learner's weights, for export; its model_id is another."""
    state, _ = state_bytes.import_state(model, model.model_id, learner.state)
    layers = []
    for index, (layer, weights) in enumerate(zip(model.layers, state.weights, strict=True)):
        layers.append(
            replace(
                layer,
                master=weights.master.astype(np.int16),
                bias=weights.bias.astype(np.int32),
                in_amax=state.frozen_ranges[index - 1] if index else layer.in_amax,
            )
        )
    names = tuple(class_names)
    return replace(model, layers=tuple(layers), n_classes=state.n_classes, class_names=names)


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """A zip with fixed dates and order: same files, same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), files[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _learner(data: LearnerData) -> Learner:
    return Learner(
        data=data.to_bytes(),
        state=data.state,
        state_hash=data.state_hash.hex(),
        class_count=data.n_classes,
        report={"exemplars_per_class": data.counts()},
    )


def require_head(model: IntModel, method: Method) -> int:
    """The head by which a method decides.

    Raises: InvalidInputError if the method needs what the model was not quantized with.
    """
    head = RECIPES[method].head
    if RECIPES[method].correction_steps and not model.bias_correction:
        raise InvalidInputError(
            "This model holds no bias correction.",
            [Issue(f"method {method}", "method", "a model quantized with bias_correction")],
        )
    require_expansion(model, method)
    if head == NEAREST_MEAN and not model.keep_prototypes:
        raise InvalidInputError(
            "This model keeps no prototypes.",
            [Issue(f"method {method}", "method", "a model quantized with keep_prototypes")],
        )
    return head


def _issue(error: CodegenError) -> Issue:
    return Issue(error.what, error.where, error.expected)
