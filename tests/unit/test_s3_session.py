import json
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound, UnknownServiceError
from botocore.session import Session as Plain
from botocore.utils import parse_timestamp as general_parse

from ckpt_tier.store.s3_session import make_session, parse_timestamp


@pytest.mark.parametrize("service", ["s3", "sts", "sso", "sso-oidc"])
def test_a_client_is_the_one_that_botocore_itself_makes(service: str) -> None:
    ours = make_session(None, "eu-central-1").create_client(service).meta
    theirs = Plain().create_client(service, region_name="eu-central-1").meta

    assert ours.endpoint_url == theirs.endpoint_url
    assert ours.region_name == theirs.region_name
    assert ours.service_model.operation_names == theirs.service_model.operation_names
    assert ours.service_model.metadata == theirs.service_model.metadata


def test_a_service_that_nobody_knows_is_botocores_error() -> None:
    with pytest.raises(UnknownServiceError):
        make_session(None, "eu-central-1").create_client("no-such-service")


def test_the_chain_of_settings_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile lab]\nregion = ap-south-1\n")
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    session = make_session("lab", None)

    assert session.get_config_variable("region") == "ap-south-1"
    assert session.get_credentials().access_key == "key"
    with pytest.raises(ProfileNotFound):
        make_session("nobody", None).create_client("s3", region_name="eu-central-1")


def test_models_of_the_users_own_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "s3" / "2099-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({"metadata": {"endpointPrefix": "mine"}, "operations": {}}))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))

    loader = make_session(None, None).get_component("data_loader")

    assert loader.load_service_model("s3", "service-2")["metadata"]["endpointPrefix"] == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27T08:01:02.345Z",
        "2026-11-27T08:01:02+00:00",
        "2026-11-27 08:01:02",
        "Fri, 27 Nov 2026 08:01:02 GMT",
        "Fri, 27 Nov 2026 08:01:02 -0000",
        "Friday, 27-Nov-26 08:01:02 GMT",
        "1795766462",
        1795766462,
        1795766462.5,
    ],
)
def test_a_time_is_what_botocore_takes_it_for(text: str | float) -> None:
    told, expected = parse_timestamp(text), general_parse(text)
    assert told == expected
    assert told.timestamp() == expected.timestamp()


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        parse_timestamp("yesterday")
