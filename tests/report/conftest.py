"""What the tests of reports share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of a module decode into the tests' cache too, before each test's own setting counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
