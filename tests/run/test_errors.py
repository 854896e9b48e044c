import errno
import signal

import pytest

from metarl.run.errors import Interrupted, UserError, explain_os_errors


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize("signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_has_the_exit_code_that_shells_expect(signum, code):
    interrupted = Interrupted(signum, "stopped")
    assert (interrupted.exit_code, str(interrupted)) == (code, "stopped")


def test_os_error_becomes_a_sentence_with_path_and_reason(tmp_path):
    with pytest.raises(UserError, match=f"cannot write {tmp_path}: No space left on device; .* again") as caught:
        with explain_os_errors(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_path_of_the_error_itself_is_preferred(tmp_path):
    with pytest.raises(UserError, match=f"cannot read {tmp_path / 'missing'}: No such file"):
        with explain_os_errors(tmp_path, "read"):
            open(tmp_path / "missing").close()


def test_other_errors_pass_through():
    with pytest.raises(KeyError), explain_os_errors("x"):
        raise KeyError("x")
