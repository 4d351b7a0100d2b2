"""The document of `doctor`."""

import msgspec

from ckpt_tier.doctor.finding import Finding


class DoctorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`doctor`: what was looked at, in the order of looking, and what each finding costs and needs."""

    schema: str = "ckpt-tier/doctor/1"
    findings: tuple[Finding, ...]
    good_count: int
    warning_count: int
    bad_count: int
    exit_code: int
