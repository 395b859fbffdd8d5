"""The container's files name what exists: files, extras, the user, the port and the health path.

They are not built here; what Docker itself would refuse is not seen.
"""

import inspect
import json
import re
import shlex
import tomllib

import pytest
import yaml

from segmenter import commands
from segmenter.commands.serve import serve
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "Dockerfile").is_file(), reason=f"{NOT_HERE}: the repository"
)
PORT = inspect.signature(serve).parameters["port"].default


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile and its words, in order; continued lines are joined."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines]


def words_of(name: str) -> list[str]:
    return [words for instruction, words in instructions() if instruction == name]


def compose() -> dict:
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))


def test_every_instruction_is_one_of_dockers() -> None:
    known = "CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK RUN STOPSIGNAL USER WORKDIR"
    assert {name for name, _ in instructions()} <= set(known.split())
    assert instructions()[0][0] == "FROM"


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for words in words_of("COPY"):
        if words.startswith("--from="):
            continue
        for source in words.split()[:-1]:
            assert (REPOSITORY / source).exists(), source
            assert f"!{source}" in ignored, source


def test_everything_that_the_wheel_is_built_from_is_copied() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    copied = {source for words in words_of("COPY") for source in words.split()[:-1]}
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied
    assert {"pyproject.toml", "src"} <= copied


def test_the_extras_exist_and_torch_is_the_one_for_cpus() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    installed = " ".join(words_of("RUN"))
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", installed)
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    assert "serve" in extras.split(",")
    assert "--index-url https://download.pytorch.org/whl/cpu 'torch>=" in installed


def test_the_process_is_not_roots() -> None:
    (user,) = words_of("USER")
    assert int(user) > 0
    assert any(f"--uid {user}" in words for words in words_of("RUN"))
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]


def test_the_command_is_one_of_ours_on_the_port_that_is_exposed() -> None:
    (entry,), (command,) = words_of("ENTRYPOINT"), words_of("CMD")
    words = json.loads(command)
    assert json.loads(entry) == ["segmenter"]
    _, bound, _ = commands.app.parse_args(words, exit_on_error=False, print_error=False)
    assert bound.arguments["host"] == "0.0.0.0"
    assert words_of("EXPOSE") == [str(PORT)]


def test_health_is_asked_on_a_route_that_needs_no_token() -> None:
    (words,) = words_of("HEALTHCHECK")
    address = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", words)
    assert address is not None
    assert int(address[1]) == PORT
    source = (REPOSITORY / "src/segmenter/extras/serving/app.py").read_text(encoding="utf-8")
    (route,) = (line for line in source.splitlines() if f'"{address[2]}"' in line)
    assert "is_open=True" in route
    script = json.loads(words[words.index("CMD") + 3 :])[2]
    compile(script, "health check", "exec")


def test_the_proxy_leads_to_the_service_which_alone_it_can_reach() -> None:
    services = compose()["services"]
    assert services["segmenter"]["build"] == "."
    assert "ports" not in services["segmenter"]
    assert services["segmenter"]["expose"] == [str(PORT)]
    command = services["proxy"]["command"]
    assert command[command.index("--to") + 1] == f"segmenter:{PORT}"
    assert services["proxy"]["depends_on"]["segmenter"] == {"condition": "service_healthy"}


def test_the_service_waits_for_a_secret_and_may_write_its_cache_alone() -> None:
    service = compose()["services"]["segmenter"]
    assert service["environment"]["SEGMENTER_TOKEN"].startswith("${SEGMENTER_TOKEN:?")
    assert service["read_only"] is True
    (user,) = words_of("USER")
    assert f"/home/segmenter/.cache:uid={user},mode=0700" in service["tmpfs"]
    assert any("--create-home segmenter" in words for words in words_of("RUN"))


def test_volumes_that_are_used_are_declared() -> None:
    content = compose()
    used = [volume for each in content["services"].values() for volume in each.get("volumes", [])]
    assert {volume.split(":")[0] for volume in used} == set(content["volumes"])


def test_shell_lines_have_no_open_quote() -> None:
    for words in words_of("RUN"):
        assert shlex.split(words)
