# SPDX-License-Identifier: Apache-2.0
"""Trainable convolutions (SPEC.md 14): the C runtime equals the twin, bit for bit."""

import pytest

from tests.parity.conftest import COUNTERS, OpenPair
from tests.parity.convs import CONV_SPECS, ConvSpec, make_conv_model
from tests.parity.sessions import run_session

SPEC = {spec.name: spec for spec in CONV_SPECS}


@pytest.mark.parametrize("spec", CONV_SPECS, ids=lambda spec: spec.name)
def test_session_with_counters_and_sanitizers_equals_twin(
    spec: ConvSpec, open_pair: OpenPair
) -> None:
    pair = open_pair(make_conv_model(spec), defines=(COUNTERS,), sanitize=True)
    run_session(pair, seed=5)
    pair.both("counters")
