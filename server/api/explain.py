# SPDX-License-Identifier: Apache-2.0
"""What every layer of a model does to its calibration samples."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from server.api import schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import ContextDep
from server.api.problems import documented
from server.services.explain import explain_version

router = APIRouter(route_class=GuardedRoute, prefix="/models", tags=["models"])
Share = Annotated[float, Field(ge=0, le=1)]


class LayerExplained(BaseModel):
    """A layer. Shares are of its values on the samples; null where a layer has no such thing."""

    name: str = Field(examples=["conv0"])
    kind: str = Field(
        examples=["conv"],
        description="input, a front's node (conv, average, max, add, concat, table), frozen, "
        "hidden or head.",
    )
    shape: list[int] = Field(examples=[[1, 128, 16]])
    bits: int = Field(examples=[8])
    macs: int = Field(description="Multiply-accumulates of an inference.")
    weight_bytes: int
    step: float | None = Field(description="Real value of one step of the integers.")
    range: float | None = Field(description="Largest real value that the integers can hold.")
    float_range: list[float] | None = Field(
        default=None, description="Smallest and largest float value."
    )
    clipped: Share = Field(description="Beyond the range of 8 or 4 bits.")
    saturated: Share = Field(description="At an end of 16 bits.")
    zeros: Share
    tiles_saturated: Share | None = Field(description="Tiles of the 4-bit product.")
    error: float | None = Field(
        description="Root mean square of integer minus float over that of float."
    )


class ExplainRead(BaseModel):
    """Layers of a version in the order of execution, on calibration samples."""

    model_id: s.Id
    version: int
    layers: list[LayerExplained]


@router.get(
    "/{model_id}/explain",
    responses=documented(404, 409),
    dependencies=[scope("models:read")],
)
def explain_model(
    model_id: s.Id,
    context: ContextDep,
    version: Annotated[int | None, Query(ge=1, lt=2**31, description="The newest if absent.")] = (
        None
    ),
) -> ExplainRead:
    """Where a model loses accuracy: clipped and saturated values and errors, layer by layer.

    Integers are those of the device; floats are onnxruntime's on the uploaded model, with the
    learned weights where a version has learned.
    """
    number, rows = explain_version(context, model_id, version)
    layers = [LayerExplained.model_validate(row) for row in rows]
    return ExplainRead(model_id=model_id, version=number, layers=layers)
