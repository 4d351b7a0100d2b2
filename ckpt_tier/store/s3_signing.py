"""Signatures of requests, made by awscrt as botocore has them made, without a request of botocore's around each: to
make that, and to turn it into awscrt's and back, takes longer than the signature.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_NOT_SIGNED = frozenset(("expect", "user-agent"))
"""Proxies on the way may change them; as in botocore."""


class Scope(msgspec.Struct, frozen=True):
    """What a signature is good for."""

    region: str
    service: str


class Signer:
    """Signs requests whose payload is not signed, with the credentials that hold at the time. For any thread."""

    def __init__(self, credentials: Any) -> None:
        """`credentials`: botocore's, which renews them where they run out."""
        self._credentials = credentials
        self._provider: tuple[object, Any] = (None, None)

    def signed(self, method: str, target: str, headers: Mapping[str, str], scope: Scope) -> dict[str, str]:
        """The headers with those that prove who has sent them. `target`: path and query, encoded; `headers`, by names
        in small letters, with the host. Raises what botocore raises when it can't renew the credentials."""
        from awscrt import auth, http

        signed = [(name, value) for name, value in headers.items() if name not in _NOT_SIGNED]
        request = http.HttpRequest(method, target, http.HttpHeaders(signed))
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._provider_now(),
            region=scope.region,
            service=scope.service,
            date=datetime.now(UTC),
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value="UNSIGNED-PAYLOAD",
            signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        auth.aws_sign_request(request, config).result()
        return {**headers, **dict(request.headers)}

    def _provider_now(self) -> Any:
        from awscrt import auth

        frozen = self._credentials.get_frozen_credentials()
        known, provider = self._provider
        if known != frozen:
            provider = auth.AwsCredentialsProvider.new_static(frozen.access_key, frozen.secret_key, frozen.token)
            self._provider = frozen, provider
        return provider
