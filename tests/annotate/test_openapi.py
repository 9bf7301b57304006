"""The API is what its description says, whatever is sent to it."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .web import ORIGIN

schemathesis = pytest.importorskip("schemathesis")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning"),
]

EXAMPLES = 2


@pytest.mark.parametrize("name", ["Ada", "Olga", None])
def test_nothing_that_is_sent_breaks_the_app(name, open_site):
    site = open_site(pairs=20)
    browser = site.nobody if name is None else site.browser(name)
    for _ in range(2 if name == "Ada" else 0):
        browser.save(browser.more()[0]["key"])
    schema = schemathesis.openapi.from_asgi("/openapi.json", site.app, headers={"host": "127.0.0.1:8700"})
    cookie = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
    headers = {"origin": ORIGIN, "host": "127.0.0.1:8700", **({"cookie": cookie} if cookie else {})}
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.specs.openapi.checks.status_code_conformance,
        schemathesis.specs.openapi.checks.response_schema_conformance,
        schemathesis.specs.openapi.checks.content_type_conformance,
    ]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        if operation.method.upper() != "DELETE":  # which would sign the browser out
            _try(operation, headers, checks)


def _try(operation, headers, checks):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy())
    def attempt(case):
        case.validate_response(case.call(headers=headers), checks=checks)

    attempt()
