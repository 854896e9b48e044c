"""The command line, `metarl COMMAND`; each command imports what it needs itself."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "discover": "evolve a learning rule; the same command continues a run that was stopped",
    "pretrain": "train a model that acts in context; the same command continues a run that was stopped",
    "teach": "students by curriculum teachers; the same command continues a run that was stopped",
    "metabo": "train a neural process that optimises; the same command continues a run that was stopped",
    "evaluate": "a rule, a pretrained model or a neural process against baselines on held-out tasks",
    "compare": "several seeds of one kind of run against several of another",
    "plot": "write the report page of a run, an evaluation, a rule or a model",
    "zoo": "list, show and make trained rules and models that ship with the package",
    "presets": "list the named configurations of discover, pretrain, teach and metabo",
}
USAGE = "usage: metarl [-h] {" + ",".join(COMMANDS) + "} ...\n\nLearn reinforcement-learning algorithms.\n\ncommands:\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of a command line: 0 done, 2 bad input, 130 or 143 interrupted after a checkpoint.

    141 stands for output that nobody reads on. Set METARL_TRACEBACK=1 to see where an error comes from.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE + "\n".join(f"  {name:10s} {purpose}" for name, purpose in COMMANDS.items()))
        print("\n'metarl COMMAND --help' explains every option.")
        return 0
    if words[0] not in COMMANDS:
        return _fail(f"there is no command {words[0]!r}; choose one of {', '.join(COMMANDS)}")
    from metarl.run.errors import Interrupted, explain_os_errors

    try:
        with explain_os_errors(Path.cwd(), "read or write"):
            return _run_until_unread(words[0], words[1:])
    except SystemExit as stop:  # tyro has printed help, or what is wrong with the words
        return int(stop.code or 0)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ValueError as error:
        if os.environ.get("METARL_TRACEBACK"):
            raise
        return _fail(str(error))


def _run_until_unread(command: str, words: list[str]) -> int:
    """Runs a command; ends quietly when the reader of its output, such as `head`, has seen enough."""
    try:
        _run(command, words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered is flushed at exit
        return 141
    return 0


def _run(command: str, words: list[str]) -> None:
    if command == "discover":
        from metarl.cli.discover import discover as run
    elif command == "pretrain":
        from metarl.cli.pretrain import pretrain as run
    elif command == "teach":
        from metarl.cli.teach import teach as run
    elif command == "metabo":
        from metarl.cli.metabo import metabo as run
    elif command == "evaluate":
        from metarl.cli.evaluate import evaluate as run
    elif command == "compare":
        from metarl.cli.compare import compare as run
    elif command == "plot":
        from metarl.cli.plot import plot as run
    elif command == "zoo":
        from metarl.cli.zoo import zoo as run
    else:
        from metarl.cli.presets import presets as run
    run(words)


def _fail(sentence: str) -> int:
    print(f"metarl: error: {sentence}", file=sys.stderr)
    return 2
