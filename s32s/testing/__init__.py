"""What every backend and every store has to keep, as tests: derive a class and give it the fixture that it names.

    class TestMine(s32s.testing.BackendContract):
        @pytest.fixture
        def backend(self) -> Backend:
            return MyBackend(...)  # an empty place

`StoreContract` is the same for stores. The tests take an empty place each, and need pytest alone.
"""

from s32s.testing.backends import BackendContract, content, listed, put
from s32s.testing.stores import ANY_LIMIT, StoreContract, run

__all__ = ["ANY_LIMIT", "BackendContract", "StoreContract", "content", "listed", "put", "run"]
