"""docker-compose.yml, held against the Compose specification and against what the program takes.

The schema is the one that check-jsonschema brings along, a copy of the specification's.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema
import msgspec
import pytest
import yaml

from ckpt_tier.cli.group import cli
from ckpt_tier.config import Config, load
from ckpt_tier.operations import Operations
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.wiring import Wiring

REPOSITORY = Path(__file__).parents[2]
ONE_SHOT = {"bucket"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    place = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    loaded: dict[str, Any] = json.loads(place.read_text())
    return loaded


def substituted(value: str) -> str:
    """With the default of every ${NAME:-default}."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_file_follows_the_compose_specification(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    validator(schema).validate(compose)


def test_the_schema_refuses_a_key_that_compose_does_not_know(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    wrong = {**compose, "services": {"minio": {**compose["services"]["minio"], "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validators.validator_for(schema)(schema).validate(wrong)


def test_the_images_are_the_ones_that_can_still_be_pulled(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["minio"]["image"] == "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
    assert services["bucket"]["image"] == "quay.io/minio/mc:RELEASE.2025-08-13T08-35-41Z"
    assert (REPOSITORY / services["ckpt-tier"]["build"]["dockerfile"]).is_file()


def test_every_service_that_runs_on_has_a_health_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) is (name not in ONE_SHOT), name


def test_nothing_starts_before_what_it_needs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["bucket"]["depends_on"] == {"minio": {"condition": "service_healthy"}}
    assert services["ckpt-tier"]["depends_on"] == {
        "minio": {"condition": "service_healthy"},
        "bucket": {"condition": "service_completed_successfully"},
    }


def test_no_port_is_open_beyond_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_named_volume_is_declared_and_every_mounted_file_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if not source.startswith("./"):
                assert source in compose["volumes"]
            elif source != "./checkpoints":
                assert (REPOSITORY / source).is_file()


def test_the_command_is_one_that_our_command_line_takes(compose: dict[str, Any]) -> None:
    name, *arguments = shlex.split(compose["services"]["ckpt-tier"]["command"])
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    parsed = command.make_context(name, arguments, parent=context)
    assert parsed.params["watch"] is True


def service_config(compose: dict[str, Any]) -> Config:
    """The configuration as the service reads it: the mounted file with the service's environment."""
    service = compose["services"]["ckpt-tier"]
    environment = {key: substituted(value) for key, value in service["environment"].items()}
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in service["volumes"]}
    file = REPOSITORY / mounted[environment.pop("CKPT_TIER_CONFIG")]
    return load(file, env={**environment, "HOME": "/state"}, cwd=Path("/"))


def test_the_mounted_configuration_loads_and_fits_the_other_services(compose: dict[str, Any]) -> None:
    config = service_config(compose)
    services = compose["services"]
    targets = {mount.split(":")[1] for mount in services["ckpt-tier"]["volumes"]}
    assert {str(config.hot.path), str(config.state_dir)} <= targets
    assert config.cold.endpoint_url == "http://minio:9000"
    made = shlex.split(services["bucket"]["command"])[-1].split("/")[-1]
    assert config.cold.url.removeprefix("s3://").split("/")[0] == made


def test_the_worker_has_the_keys_that_minio_was_given(compose: dict[str, Any]) -> None:
    minio, worker = (compose["services"][name]["environment"] for name in ("minio", "ckpt-tier"))
    assert worker["AWS_ACCESS_KEY_ID"] == minio["MINIO_ROOT_USER"]
    assert worker["AWS_SECRET_ACCESS_KEY"] == minio["MINIO_ROOT_PASSWORD"]
    assert len(substituted(minio["MINIO_ROOT_PASSWORD"])) >= 8, "MinIO refuses shorter ones"


@pytest.fixture
def run(tmp_path: Path) -> Config:
    """A run over two folders, which any status can be asked of."""
    for name in ("hot", "cold"):
        (tmp_path / name).mkdir()
    FolderStore(tmp_path / "cold").create_marker()
    file = tmp_path / "ckpt-tier.toml"
    file.write_text(
        'run = "r"\nstate_dir = "state"\n[hot]\npath = "hot"\nlayout = "model_step_{step}.pt"\n'
        '[cold]\nurl = "cold"\nsame_device = true\n'
    )
    return load(file, env={}, cwd=tmp_path)


def health(compose: dict[str, Any], config: Config) -> int:
    """Runs the service's health check as Compose would; returns its exit code."""
    kind, script = compose["services"]["ckpt-tier"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert "$" not in script, "Compose would take it for a variable"
    here = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "CKPT_TIER_CONFIG": str(config.file)}
    script = script.replace("ckpt-tier status", f"{shlex.quote(sys.executable)} -m ckpt_tier status")
    return subprocess.run(["/bin/sh", "-c", script], env=env, cwd=REPOSITORY, timeout=60, check=False).returncode


@pytest.mark.slow
def test_the_health_check_is_good_while_a_worker_runs(compose: dict[str, Any], run: Config) -> None:
    with Wiring(run).worker_lock("a test").acquire(""):
        assert health(compose, run) == 0


@pytest.mark.slow
def test_the_health_check_is_bad_without_a_worker(compose: dict[str, Any], run: Config) -> None:
    assert health(compose, run) == 1


@pytest.mark.slow
def test_the_health_check_is_bad_without_a_configuration(compose: dict[str, Any], run: Config) -> None:
    assert run.file is not None
    run.file.unlink()
    assert health(compose, run) != 0


@pytest.mark.slow
def test_the_health_check_is_good_with_a_rejected_checkpoint(compose: dict[str, Any], run: Config) -> None:
    """Exit code 9 of `status` is for a person; restarting the container would mend nothing."""
    (run.hot.path / "model_step_1.pt").write_bytes(b"")
    os.utime(run.hot.path / "model_step_1.pt", (0, 0))
    quick = msgspec.structs.replace(run, hot=msgspec.structs.replace(run.hot, settle=0.0))
    with Wiring(quick).syncing(lambda _: None, "a test") as syncing:
        syncing.run_until_idle()
    assert Operations(Wiring(run)).status().attention
    with Wiring(run).worker_lock("a test").acquire(""):
        assert health(compose, run) == 0
