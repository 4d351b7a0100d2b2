"""A session of botocore's that starts fast: the AWS chain of credentials and settings, and the models of requests.

botocore is used without boto3's layer of resources above it, whose import and set-up nobody here has a use for, and
with two of its own parts replaced: together that saves more than half of what a client costs.
"""

import contextlib
import gzip
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
from botocore.loaders import JSONFileLoader, Loader
from botocore.session import Session
from botocore.utils import parse_timestamp as general_parse


def make_session(profile: str | None, region: str | None) -> Session:
    """Asks nobody, and finds out about a profile that isn't there when it is first used."""
    session = Session(profile=profile)
    if region is not None:
        session.set_config_variable("region", region)
    custom = session.get_config_variable("data_path")  # AWS_DATA_PATH
    folders = [str(Path(part).expanduser()) for part in custom.split(":")] if custom else []
    session.register_component("data_loader", _Models(folders, file_loader=_Json()))
    # dateutil, the default, is slow.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_timestamp)
    return session


class _Models(Loader):
    """Finds the models of a service without a walk through the folders of 400 others."""

    def list_available_services(self, type_name: str) -> list[str]:
        """Each service that has a folder; whether models of `type_name` are in it turns out when they are loaded."""
        folders = [Path(path) for path in self.search_paths if Path(path).is_dir()]
        return sorted({service.name for folder in folders for service in folder.iterdir()})


class _Json(JSONFileLoader):
    """Reads the models, of a megabyte or two, five times as fast."""

    def load_file(self, file_path: str) -> Any:
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            path = Path(f"{file_path}{ending}")
            if path.is_file():
                with opened(path, "rb") as file:
                    return msgspec.json.decode(file.read())
        return None


def parse_timestamp(value: str | float) -> datetime:
    """ISO 8601 as listings have it, and dates as headers do; everything else (seconds) the way botocore does."""
    text = str(value)
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with contextlib.suppress(ValueError):
            moment = parse(text)
            if moment.tzinfo:
                return moment
    return general_parse(text)
