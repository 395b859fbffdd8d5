"""The service against its own description: whatever is sent, no answer is a 5xx or unheard of."""

from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.helpers.services import encode, make_image, serving

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

IMAGE = encode(make_image(16, 16))
EXAMPLES = 40  # of each operation and mode


@pytest.fixture(scope="module")
def served() -> Iterator[SimpleNamespace]:
    with serving() as running:
        running.client.post("/segment", content=IMAGE)  # the decoding processes have started
        schemathesis.openapi.format("binary", st.one_of(st.binary(), st.just(IMAGE)))
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
def test_no_request_made_from_the_description_is_a_fault_of_the_service(
    served: SimpleNamespace, mode: object
) -> None:
    url = f"http://127.0.0.1:{served.port}"
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: set[int] = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            response = case.call(base_url=url)
            statuses.add(response.status_code)
            assert response.status_code < 500, case.as_curl_command()

        with suppress(Unsatisfiable):  # of what takes nothing, nothing wrong can be sent
            send()
    assert len(statuses) > 1
    assert served.client.get("/v2/health/ready").is_success
