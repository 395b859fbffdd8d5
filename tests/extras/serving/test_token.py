"""The secret of a service, as the environment gives it."""

import pytest

from segmenter.errors import UserError
from segmenter.extras.serving.service_settings import read_token


@pytest.mark.parametrize("token", ["", " ", "a b", "pässwort", "a\n", "\udcff", "\x7f", "\uff11"])
def test_a_token_that_no_client_can_send_is_refused_without_being_shown(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTER_TOKEN", token)
    with pytest.raises(
        UserError, match=r"^SEGMENTER_TOKEN (is set, but empty|holds a blank)"
    ) as refused:
        read_token()
    assert "\n" not in str(refused.value)
    assert "pässwort" not in str(refused.value)


def test_a_token_is_taken_as_it_is_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER_TOKEN", "a-B_1~+/=")
    assert read_token() == "a-B_1~+/="
    monkeypatch.delenv("SEGMENTER_TOKEN")
    assert read_token() is None
