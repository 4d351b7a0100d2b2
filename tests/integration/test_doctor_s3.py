"""What doctor finds about buckets: on a real MinIO, with users of their own for what is forbidden. What MinIO can't be
made to do (archives, old uploads, another region's answer) comes from moto or a proxy, and says so."""

import datetime
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3
import botocore.crt.auth
import pytest

from ckpt_tier.config import Config, from_mapping
from ckpt_tier.doctor.bucket import COSTS
from ckpt_tier.doctor.cold import cold_tier
from ckpt_tier.doctor.finding import Finding, exit_code, guarded
from ckpt_tier.errors import AccessDeniedError
from ckpt_tier.system.clock import SystemClock
from ckpt_tier.wiring import Wiring
from tests import minio
from tests.builders import SteppedClock
from tests.minio import Bucket, Server, fresh_bucket, set_credentials
from tests.proxy import Answer, Request, refusal, troubled
from tests.stores import s3_store

DAY = 86_400


def configured(bucket: Bucket, folder: Path, **cold: Any) -> Config:
    """A configuration whose cold tier is below ``pre`` of the bucket."""
    (folder / "hot").mkdir(exist_ok=True)
    document = {
        "run": "swelu",
        "state_dir": "state",
        "hot": {"path": "hot", "layout": "step_{step}.bin"},
        "cold": {"url": f"{bucket.url}/pre", "endpoint_url": bucket.endpoint_url, "addressing": "path", **cold},
    }
    return from_mapping(document, env={"HOME": str(folder)}, cwd=folder)


def looked_at(bucket: Bucket, folder: Path, clock: SteppedClock | None = None, **cold: Any) -> list[Finding]:
    wiring = Wiring(configured(bucket, folder, **cold), clock)
    return list(guarded("cold tier", lambda: cold_tier(wiring)))


def faults(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "good"]


def told(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{finding.subject}: {finding.what}" for finding in findings)


def as_user(bucket: Bucket, allowed: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Becomes a user of the store who may do only what is `allowed`, by a policy of a session of its own."""
    wanted = set(allowed)
    on_bucket = {action for action in wanted if "ListBucket" in action}
    statements = [
        {"Effect": "Allow", "Action": sorted(actions), "Resource": resource}
        for actions, resource in (
            (on_bucket, f"arn:aws:s3:::{bucket.bucket}"),
            (wanted - on_bucket, f"arn:aws:s3:::{bucket.bucket}/pre/*"),
        )
        if actions
    ]
    return with_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": statements}), monkeypatch)


def with_policy(bucket: Bucket, policy: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Becomes a user of the store with a policy, and no other; returns the session's credentials."""
    sts = boto3.client(
        "sts",
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id=bucket.server.access_key,
        aws_secret_access_key=bucket.server.secret_key,
        region_name="us-east-1",
    )
    answer = sts.assume_role(
        RoleArn="arn:aws:iam::123456789012:role/test",
        RoleSessionName="tests",
        Policy=policy,
    )
    keys: dict[str, str] = answer["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    return keys


def everything(bucket: Bucket) -> tuple[list[str], int]:
    """The keys of the bucket, and how many uploads are unfinished."""
    client = bucket.client
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket.bucket).get("Contents", [])]
    return keys, len(client.list_multipart_uploads(Bucket=bucket.bucket).get("Uploads", []))


def test_a_good_bucket_has_no_fault_and_is_left_as_it_was(s3: Bucket, tmp_path: Path) -> None:
    findings = looked_at(s3, tmp_path)
    assert faults(findings) == []
    assert everything(s3) == ([], 0)
    text = told(findings)
    assert "credentials: found by the AWS chain: env" in text
    assert "clock: within " in text
    assert "permissions: all 7 that are used are there" in text
    assert "conditional write, multipart with checksum, wrong checksum refused, delete" in text
    assert "bucket: versioning is off" in text


@pytest.mark.parametrize("missing", COSTS)
def test_each_missing_permission_is_found_with_its_cost_and_fix(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    as_user(s3, set(COSTS) - {missing}, monkeypatch)
    findings = [finding for finding in faults(looked_at(s3, tmp_path)) if finding.subject == "permissions"]
    assert findings[0].what == f"{missing} is refused: {COSTS[missing]}"
    where = s3.bucket if missing.startswith("s3:ListBucket") else f"{s3.bucket}/pre/*"
    assert findings[0].fix == f"allow {missing} on arn:aws:s3:::{where}"
    vital = missing in ("s3:ListBucket", "s3:GetObject", "s3:PutObject")
    assert findings[0].level == ("bad" if vital else "warning")
    assert len(findings) == 1
    assert everything(s3) == ([], 0)


def test_what_a_store_does_not_tell_is_not_guessed(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # AWS answers 403 for what is not there to whoever may not list; MinIO does not, so a proxy does.
    as_user(s3, set(COSTS) - {"s3:ListBucket"}, monkeypatch)

    def as_aws(request: Request, answer: Answer) -> None:
        if request.method == "GET" and answer.status == 404 and "run.json" in request.path:
            answer.status, answer.body = 403, refusal(403, "AccessDenied").body

    with troubled(s3) as (bucket, trouble):
        trouble.after = as_aws
        findings = [finding for finding in faults(looked_at(bucket, tmp_path)) if finding.subject == "permissions"]
        assert [finding.level for finding in findings] == ["bad", "warning"]
        assert "whether s3:GetObject is allowed can't be told while s3:ListBucket is refused" in findings[1].what
        s3.client.put_object(Bucket=s3.bucket, Key="pre/swelu/run.json", Body=b"{}")
        findings = [finding for finding in faults(looked_at(bucket, tmp_path)) if finding.subject == "permissions"]
    assert [finding.level for finding in findings] == ["bad"]


def test_the_permissions_that_the_documents_name_are_enough(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs/operations.md"
    [policy] = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    with_policy(s3, policy.replace("BUCKET/PREFIX", f"{s3.bucket}/pre").replace("BUCKET", s3.bucket), monkeypatch)
    findings = looked_at(s3, tmp_path)
    assert faults(findings) == []
    text = told(findings)
    assert "not looked at, since these credentials may not: s3:GetBucketVersioning" in text
    assert "not looked at, since these credentials may not: s3:GetLifecycleConfiguration" in text


@pytest.mark.parametrize("missing", ["s3:DeleteObject", "s3:AbortMultipartUpload"])
def test_nothing_is_written_that_could_not_be_removed_again(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    as_user(s3, set(COSTS) - {missing}, monkeypatch)
    assert "it was not tried out: what that writes could not be removed again" in told(looked_at(s3, tmp_path))
    assert everything(s3) == ([], 0)


def test_no_credential_is_in_what_is_found(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = as_user(s3, ["s3:GetObject"], monkeypatch)
    text = repr(looked_at(s3, tmp_path))
    assert not any(secret in text for secret in (keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
        ("AWS_SESSION_TOKEN", "made-up", "InvalidTokenId"),
    ],
)
def test_credentials_that_are_not_accepted_are_told_as_such(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    as_user(s3, COSTS, monkeypatch)
    monkeypatch.setenv(variable, value)
    [finding] = faults(looked_at(s3, tmp_path))
    assert (finding.level, finding.subject, finding.exit_code) == ("bad", "credentials", 6)
    assert words in finding.what
    assert "AWS_PROFILE" in finding.fix


def test_no_credentials_at_all(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    [finding] = looked_at(s3, tmp_path)
    assert (finding.level, finding.subject) == ("bad", "credentials")


def test_where_credentials_were_found_is_told(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    keys = f"aws_access_key_id = {s3.server.access_key}\naws_secret_access_key = {s3.server.secret_key}\n"
    file.write_text(f"[training]\n{keys}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    findings = looked_at(s3, tmp_path, profile="training")
    assert faults(findings) == []
    assert "found by the AWS chain: shared-credentials-file" in told(findings)
    [finding] = looked_at(s3, tmp_path, profile="nobody")
    assert (finding.exit_code, finding.what) == (3, "there is no AWS profile 'nobody'")


def test_credentials_that_expire_soon_and_that_have_expired(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(s3, COSTS, monkeypatch)
    now = datetime.datetime.now(datetime.UTC)
    # Later than botocore would ask for new ones (15 minutes), which the environment can't give.
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", (now + datetime.timedelta(minutes=30)).isoformat())
    [finding] = faults(looked_at(s3, tmp_path))
    assert (finding.level, finding.subject) == ("warning", "credentials")
    assert "expire in 29 min" in finding.what or "expire in 30 min" in finding.what
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", (now - datetime.timedelta(minutes=1)).isoformat())
    [finding] = faults(looked_at(s3, tmp_path))
    assert (finding.level, finding.subject, finding.exit_code) == ("bad", "credentials", 6)
    assert finding.what.startswith("those in the environment expired 1 min")
    with pytest.raises(AccessDeniedError, match="have expired"):  # what every other command says
        s3_store(s3).get("x", 10)


def test_a_clock_that_is_off_is_measured_by_the_server_s_date(s3: Bucket, tmp_path: Path) -> None:
    now = SystemClock().now()
    [finding] = faults(looked_at(s3, tmp_path, SteppedClock(now + 150)))
    assert (finding.level, finding.subject) == ("warning", "clock")
    assert finding.what.startswith("this machine's clock is 2 min")
    [finding] = [each for each in faults(looked_at(s3, tmp_path, SteppedClock(now - 1200))) if each.level == "bad"]
    assert "behind the store's: it refuses requests" in finding.what


def test_a_clock_that_the_store_refuses_is_one_finding(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twenty_minutes_ago(*_: object, **__: object) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=20)

    # awscrt signs, since it is there.
    monkeypatch.setattr(botocore.crt.auth, "get_current_datetime", twenty_minutes_ago)
    findings = looked_at(s3, tmp_path, SteppedClock(SystemClock().now() - 1200))
    [finding] = faults(findings)
    assert (finding.level, finding.subject, finding.exit_code) == ("bad", "clock", 6)
    assert "timedatectl" in finding.fix
    # Where our clock seems right and the store refuses all the same, its own words are told.
    [finding] = faults(looked_at(s3, tmp_path))
    assert (finding.subject, "RequestTimeTooSkewed" in finding.what) == ("clock", True)


def test_a_bucket_that_is_not_there(s3: Bucket, tmp_path: Path) -> None:
    [finding] = faults(looked_at(Bucket(s3.server, "no-such-bucket", s3.client), tmp_path))
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert "aws s3 mb s3://no-such-bucket" in finding.fix


def test_a_server_that_is_away(s3: Bucket, tmp_path: Path) -> None:
    [finding] = faults(looked_at(s3, tmp_path, endpoint_url="http://127.0.0.1:1"))
    assert (finding.subject, finding.exit_code) == ("cold tier", 6)


def test_a_certificate_that_is_not_trusted(
    minio_https: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_credentials(monkeypatch, minio_https)
    with fresh_bucket(minio_https) as bucket:
        [finding] = faults(looked_at(bucket, tmp_path))
        assert (finding.exit_code, "is not trusted" in finding.what, "`ca_bundle`" in finding.fix) == (3, True, True)
        assert faults(looked_at(bucket, tmp_path, ca_bundle=minio_https.ca_bundle)) == []


def test_https_to_a_server_that_speaks_http(s3: Bucket, tmp_path: Path) -> None:
    [finding] = faults(looked_at(s3, tmp_path, endpoint_url=s3.endpoint_url.replace("http:", "https:")))
    assert (finding.exit_code, "does not speak TLS" in finding.what) == (3, True)


def test_the_right_region_is_named(tmp_path: Path, minio_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = minio._minio_environment()
    monkeypatch.setattr(minio, "_minio_environment", lambda: plain | {"MINIO_SITE_REGION": "eu-central-1"})
    with minio.running_minio(minio_binary) as server:
        set_credentials(monkeypatch, server)
        bucket = Bucket(server, "test-bucket", None)
        [finding] = faults(looked_at(bucket, tmp_path))
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert finding.fix == 'set region = "eu-central-1" in [cold]'


def test_versions_that_stay_are_a_warning_until_a_rule_deletes_them(s3: Bucket, tmp_path: Path) -> None:
    s3.client.put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": "Enabled"})
    [finding] = faults(looked_at(s3, tmp_path))
    assert (finding.level, finding.subject) == ("warning", "bucket")
    assert "prune frees nothing" in finding.what
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}}
    with_rule = {"Rules": [{**rule, "NoncurrentVersionExpiration": {"NoncurrentDays": 7}}]}
    s3.client.put_bucket_lifecycle_configuration(Bucket=s3.bucket, LifecycleConfiguration=with_rule)
    assert faults(looked_at(s3, tmp_path)) == []


def test_object_lock_is_a_warning_where_it_holds_new_objects(
    aws_environment: None, minio_server: Server, tmp_path: Path
) -> None:
    client = minio_server.client()
    client.create_bucket(Bucket="test-object-lock", ObjectLockEnabledForBucket=True)
    bucket = Bucket(minio_server, "test-object-lock", client)
    assert [f for f in faults(looked_at(bucket, tmp_path)) if "object lock" in f.what] == []
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}}
    client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=lock)
    [finding] = [f for f in faults(looked_at(bucket, tmp_path)) if "object lock" in f.what]
    assert "every new object for 3 days" in finding.what


@pytest.mark.parametrize(("prefix", "level"), [("pre/swelu/", "bad"), ("", "bad"), ("logs/", "good")])
def test_a_rule_that_deletes_checkpoints(s3: Bucket, tmp_path: Path, prefix: str, level: str) -> None:
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 30}}
    s3.client.put_bucket_lifecycle_configuration(Bucket=s3.bucket, LifecycleConfiguration={"Rules": [rule]})
    findings = looked_at(s3, tmp_path)
    assert exit_code(findings) == (9 if level == "bad" else 0)
    if level == "bad":
        [finding] = faults(findings)
        assert f"the lifecycle rule 'tidy' (prefix {prefix!r}) deletes objects after 30 days" in finding.what


def test_archives_on_a_server_that_has_them(weak_s3: Bucket, tmp_path: Path) -> None:
    # moto, since MinIO has no archives; it takes wrong checksums, too, which is told.
    client, name = weak_s3.client, weak_s3.bucket
    rule = {"ID": "cheap", "Status": "Enabled", "Filter": {"Prefix": "pre/"}}
    rule["Transitions"] = [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    client.put_object(Bucket=name, Key="pre/swelu/0/data/1/x", Body=b"x", StorageClass="GLACIER")
    client.put_object(Bucket=name, Key="pre/swelu/0/data/2/x", Body=b"x")
    client.put_object(Bucket=name, Key="pre/other/x", Body=b"x", StorageClass="GLACIER")
    findings = faults(looked_at(weak_s3, tmp_path))
    text = told(findings)
    assert "moves objects to DEEP_ARCHIVE after 30 days" in text
    assert "1 of the run's first 2 objects are in GLACIER" in text
    assert "wrong checksum refused: the store accepted it" in text
    assert [finding.exit_code for finding in findings if finding.level == "bad"] == [6]


def test_old_unfinished_uploads_are_counted_where_they_are_listed(weak_s3: Bucket, tmp_path: Path) -> None:
    # moto, since MinIO lists only those of one exact key. All its uploads were begun in 2010.
    for key in ("pre/swelu/a", "pre/swelu/b", "elsewhere"):
        upload = weak_s3.client.create_multipart_upload(Bucket=weak_s3.bucket, Key=key)["UploadId"]
        weak_s3.client.upload_part(Bucket=weak_s3.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 500)
    [finding] = [f for f in faults(looked_at(weak_s3, tmp_path)) if "unfinished" in f.what]
    assert finding.level == "warning"
    assert "2 unfinished uploads are older than a day, 1.00 kB in all" in finding.what
    assert "AbortIncompleteMultipartUpload" in finding.fix
    assert everything(weak_s3)[1] == 3
    year_2000 = 946_684_800
    assert s3_store(weak_s3, "pre").inspection().unfinished(before=year_2000).count == 0


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "MethodNotAllowed", "InternalError"])
def test_an_answer_in_the_middle_is_a_finding_and_not_the_end(s3: Bucket, tmp_path: Path, code: str) -> None:
    # Answers that MinIO does not give at will come from a proxy.
    status = {"MethodNotAllowed": 405, "InternalError": 500, "ExpiredToken": 400}.get(code, 403)

    def spoiled(request: Request) -> Answer | None:
        return refusal(status, code) if "?versioning" in request.path else None

    with troubled(s3) as (bucket, trouble):
        trouble.before = spoiled
        findings = looked_at(bucket, tmp_path)
    assert "no object lock by default" in told(findings)
    quiet = code in ("AccessDenied", "MethodNotAllowed")
    assert [finding.level for finding in faults(findings)] == ([] if quiet else ["bad"])
    if not quiet:
        assert f"({code})" in faults(findings)[0].what


def test_a_permission_that_can_not_be_tried_does_not_end_the_rest(s3: Bucket, tmp_path: Path) -> None:
    def busy(request: Request) -> Answer | None:
        return refusal(503, "SlowDownWrite") if request.method == "DELETE" else None

    with troubled(s3) as (bucket, trouble):
        trouble.before = busy
        findings = looked_at(bucket, tmp_path)
    [permissions, not_tried] = faults(findings)
    assert (permissions.subject, permissions.exit_code) == ("permissions", 6)
    assert "it was not tried out" in not_tried.what
    assert "versioning is off" in told(findings)
    assert everything(s3) == ([], 0)
