"""Every key of the configuration in one table: what it may be, what it means, its default and an example.

The loader reads by it, and `docs/configuration.md` is written from it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ckpt_tier.config import values
from ckpt_tier.config.values import Place


class Key(msgspec.Struct, frozen=True):
    """One key of the configuration.

    Attributes:
        section: "hot" and so on; "" for the top of the file.
        form: what a value must look like, in words that follow "it must be".
        read: from a value of `kind` to that of the Struct; raises UsageError.
        kind: the TOML type that the value is written in.
        default: as written in TOML; None if there is none, and then `absent` says what that means.
        example: as written in TOML.
        required: whether there is no configuration without it.
        runs_code: whether its value names code or a command that is run: never taken from a bucket.
        or_word: whether text may stand in place of a value of `kind`; `read` says which.
    """

    section: str
    name: str
    form: str
    read: Callable[[Any, Place], Any]
    description: str
    example: str
    kind: type[str | int | bool | dict[str, Any]] = str
    default: str | None = None
    absent: str = "not set"
    required: bool = False
    runs_code: bool = False
    or_word: bool = False

    @property
    def written(self) -> str:
        """The key as a person writes it: "[hot] keep_last"."""
        return f"[{self.section}] {self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "CKPT_TIER_" + (f"{self.section}__{self.name}" if self.section else self.name).upper()


_WHOLE_FROM_1 = "a whole number, 1 or more"
_DURATION = 'a duration such as "10s", "2m", "12h" or "7d"'


def _choice(section: str, name: str, choices: tuple[str, ...], description: str, default: str | None) -> Key:
    *head, tail = [f'"{choice}"' for choice in choices]
    return Key(
        section, name, f"{', '.join(head)} or {tail}", values.one_of(*choices), description,
        example=tail, default=f'"{default}"' if default else None,
    )  # fmt: skip


def _retention(section: str, where: str, keep_last: str | None) -> tuple[Key, ...]:
    """The same rules for both tiers: a checkpoint that one of them keeps is kept."""
    absent = "no such rule" if keep_last else "no such rule; with none in `[cold]` everything is kept"
    return (
        Key(section, "keep_last", _WHOLE_FROM_1, values.at_least(1),
            f"How many of its newest valid checkpoints each series keeps {where}.", "5", int, keep_last, absent),
        Key(section, "keep_every", _WHOLE_FROM_1, values.at_least(1),
            f"Keeps {where} the steps that this number divides.", "50000", int, absent=absent),
        Key(section, "keep_best", "a table of metric, mode (min or max) and count", values.keep_best,
            f"Keeps {where} so many of the best checkpoints by a metric that the hook was told, or `annotate` noted "
            "later. One without the metric is never among the best. Without `count`, 1.",
            '{metric = "loss", mode = "min", count = 3}', dict, absent=absent),
        Key(section, "keep_for", _DURATION, values.duration,
            f"Keeps {where} what was saved within this time of the newest save of its series, so a pause "
            "of the training removes nothing.",
            '"30d"', absent=absent),
    )  # fmt: skip


KEYS = (
    Key("", "run", "a name: a letter or digit, then at most 63 of a-z 0-9 . _ -", values.run_name,
        "The run: the name under which its checkpoints live in the cold tier.", '"swelu"', required=True),
    Key("", "run_id", "the 16 hex digits that `ckpt-tier init` wrote", values.run_id,
        "The run's own id, written by `init`. A cold tier whose run of this name has another id is refused.",
        '"3f9c41aa03b7d5e1"', absent="joins the run that is there"),
    Key("", "state_dir", "a folder", values.path,
        "Where the journal lives. It must be on a disk of this machine, not on NFS.",
        '"/var/lib/ckpt-tier/swelu"',
        absent="a folder of its own per hot folder, under `$XDG_STATE_HOME/ckpt-tier` or "
        "`~/.local/state/ckpt-tier`"),
    Key("hot", "path", "a folder", values.path,
        "The folder that training saves into.", '"checkpoints"', default='"checkpoints"'),
    Key("hot", "layout", 'a pattern such as "model_step_{step}.pt", or "auto"', values.text,
        "Where a checkpoint lies below `path`: `{step}` stands for the step, `{series}` for the name of one "
        "of several models trained side by side, `{rank}` for the number of a process that saves its share of one "
        "checkpoint. A pattern that ends in `/` means folders. `auto` looks at the folder.",
        '"model_gpu{series}/model_step_{step}.pt"', default='"auto"'),
    *_retention("hot", "on the hot tier", "3"),
    Key("hot", "min_free", 'a share of the disk such as "10%", or a size such as "50GiB"', values.free_space,
        "With less than this free, local copies go early, and what they wait for is uploaded first.",
        '"50GiB"', default='"10%"'),
    Key("hot", "settle", _DURATION, values.duration,
        "A file found by scanning is taken up once it has been unchanged for this long.",
        '"30s"', default='"10s"'),
    Key("hot", "ranks", _WHOLE_FROM_1 + ', or "auto"', values.ranks,
        "With `{rank}` in the layout: how many shares make a checkpoint. `auto` is the world size that the hook gives; "
        "shares found by scanning need a number.", "6", int, or_word=True, default='"auto"'),
    Key("hot", "set_window", _DURATION, values.duration,
        "Shares without a save id belong to one checkpoint if they were saved within this time. It should be shorter "
        "than a crashed training takes to come to the same step again.", '"30s"', default='"2m"'),
    Key("hot", "complete_when", 'the name of a file, or a pattern such as "*.done"', values.file_pattern,
        "A checkpoint that is a folder is taken up once a file of this name is in it.", '"trainer_state.json"',
        absent="once it has settled"),
    Key("hot", "hold", _DURATION, values.duration,
        "How long a restored copy is safe from eviction.", '"7d"', default='"24h"'),
    _choice("validate", "level", ("fast", "full", "deep"),
            "How closely a file is looked at: its structure; every checksum in it; every tensor.", "full"),
    _choice("validate", "on_rejected", ("keep", "aside"),
            "What happens to a file that fails: it stays, or it moves to `.ckpt-tier/rejected/`.", "keep"),
    _choice("validate", "non_finite", ("record", "reject"),
            "What a NaN or Inf in a tensor means (`deep` sees them): a remark, or a rejection.", "record"),
    Key("validate", "custom", 'a function such as "mymodule:check"', values.function_name,
        "A validator of your own, called with the file's path after the built-in ones.", '"mymodule:check"',
        runs_code=True),
    Key("cold", "url", 'a URL such as "s3://bucket/prefix" or "file:///mnt/nas/ckpt", or a folder',
        values.cold_url,
        "Where checkpoints are kept: a bucket and prefix, a folder, or a mounted NAS; or another store that fsspec "
        "speaks, such as `sftp://host/path` or `gs://bucket/prefix` (docs/operations.md says which do what). It never "
        "holds a password.",
        '"s3://checkpoints/prod"', absent="no cold tier: nothing is uploaded, and `ckpt-tier prune --tier hot` goes by "
        "what lies on the disk (docs/disk.md)"),
    Key("cold", "endpoint_url", 'the URL of a server, such as "http://127.0.0.1:9000"', values.endpoint_url,
        "The S3 server, where it is not AWS.", '"http://127.0.0.1:9000"', absent="AWS"),
    Key("cold", "region", "the name of a region", values.text,
        "The region of the bucket.", '"eu-central-1"', absent="what the AWS settings of the machine say"),
    Key("cold", "profile", "the name of an AWS profile", values.text,
        "The profile in `~/.aws` that gives the credentials.", '"training"',
        absent="the standard AWS chain"),
    _choice("cold", "addressing", ("auto", "path", "virtual"),
            "Whether the bucket's name goes into the path or into the host name of a request.", "auto"),
    Key("cold", "ca_bundle", "a file of certificates (PEM)", values.path_text,
        "The certificates to trust, where the server's is from a private authority.",
        '"/etc/ssl/private-ca.pem"', absent="the public authorities"),
    _choice("cold", "sse", ("AES256", "aws:kms"),
            "Server-side encryption to ask for.", None),
    Key("cold", "sse_kms_key_id", "the id or ARN of a KMS key", values.text,
        'The key for `sse = "aws:kms"`.', '"alias/checkpoints"', absent="the account's own key for S3"),
    Key("cold", "same_device", "true or false", values.flag,
        "Allows a cold folder on the disk of the hot one, which a failure of that disk takes with it.",
        "true", bool, "false"),
    *_retention("cold", "in the cold tier", None),
    Key("cold", "grace", 'a duration of 1 hour or more, such as "7d"', values.grace,
        "How long data that `ckpt-tier prune` has taken out of use stays before a later `prune` deletes it; data "
        "of unfinished uploads too.", '"14d"', default='"7d"'),
    _choice("upload", "order", ("newest", "oldest"),
            "Which waiting checkpoint goes first; `newest` loses least if the machine dies now.", "newest"),
    Key("upload", "bandwidth", 'a rate such as "200MB/s"', values.rate,
        "The most that uploads may take of the network.", '"200MB/s"', absent="no limit"),
    Key("upload", "attempts", _WHOLE_FROM_1, values.at_least(1),
        "How often an upload is tried, with growing pauses, before it counts as stalled; stalled ones are "
        "tried again later.", "8", int, "8"),
    Key("save", "every", _WHOLE_FROM_1, values.at_least(1),
        "`Tier.should_save` says yes once in so many steps: at the first step asked about that is one of their "
        "multiples, or lies behind one.", "5000", int, absent="no such rule"),
    Key("save", "interval", _DURATION + ", at least a second", values.period,
        "`Tier.should_save` says yes when the last save is so long ago.", '"30m"', absent="no such rule"),
    Key("save", "best", 'a metric, with ", min" or ", max" behind it', values.best,
        "`Tier.should_save` says yes when it is given a value of this metric that is better than all that were saved. "
        "Early in a training nearly every value is: see `min_gap`.", '"loss, min"', absent="no such rule"),
    Key("save", "min_gap", 'a number of steps such as "500 steps", or a duration such as "10m"', values.gap,
        "`Tier.should_save` says no, whatever the other rules say, when the last save is nearer than this. A save that "
        "is asked for by a signal comes all the same.", '"500 steps"', absent="no such rule"),
    _choice("watch", "verify", ("off", "presence", "content"),
            "What the worker verifies again in the background: nothing; that every object is there, with its size and "
            "checksum (one small request each); every byte (reads everything, which a cloud bills as egress).",
            "presence"),
    Key("watch", "verify_every", _DURATION + ", at least a second", values.period,
        "How often each committed checkpoint is verified; the requests are spread over this time.",
        '"30d"', default='"7d"'),
)  # fmt: skip

SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS if key.section))

NOT_KEYS = ("CKPT_TIER_CONFIG", "CKPT_TIER_SAVE_ID", "CKPT_TIER_RESUME", "CKPT_TIER_TEST_")
"""Environment variables with another meaning; the last two are prefixes."""


def defaults() -> str:
    """The default of every key that has one, as a TOML document of dotted keys."""
    return "".join(f"{k.section}.{k.name} = {k.default}\n" for k in KEYS if k.default is not None)
