"""
The table of options.

An option is one row, here or in `sampling_options`, and one field of `Settings`: pytest's parser, what its text means,
which part of a run it is about, a cluster's jobs and `evaluate`'s keywords are read off it. A test walks the table.

Every pytest run where the plugin is installed imports this module, and no other of the package's but `plugin`,
`hookspecs`, `reading`, `option`, `sampling_options`, `values`, `choices` and `errors`.
"""

from __future__ import annotations

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option
from pytest_r1eval.config.sampling_options import SAMPLING
from pytest_r1eval.core import choices

MARKS = (
    *("r1eval", "smoke", "smoke_code", "aime", "aime25", "math500", "gpqa", "lcb", "aime26", "hmmt_feb25"),
    *("hmmt_nov25", "gsm8k", "ifeval", "ifbench", "mmlu_pro", "mmlu_redux", "lcb6", "aime_all"),
)
"""Of all shards, of the two small benchmarks, and of the built-in ones."""

NEWEST = "newest"
"""What a bare --r1-resume means."""


OPTIONS: tuple[Option, ...] = (
    Option(
        name="model",
        phase="draw",
        subject="checkpoint",
        metavar="MODEL",
        help="the checkpoint to judge, a folder or a Hub id; without it the plugin does nothing",
    ),
    Option(name="revision", phase="draw", metavar="REV", help="Hub revision of the model"),
    Option(
        name="base-model",
        phase="draw",
        locate=values.folder_or_id,
        metavar="MODEL",
        help="the base model of an adapter that is --r1-model, in place of the one that its adapter_config.json names",
    ),
    Option(
        name="adapter",
        phase="draw",
        locate=values.folder_or_id,
        metavar="ADAPTER",
        help="a LoRA adapter on --r1-model, a folder or a Hub id; or give the adapter alone as --r1-model",
    ),
    Option(
        name="adapter-merge",
        phase="draw",
        is_flag=True,
        help="merge the adapter into a temporary copy of its base model (needs PEFT), where vLLM does not serve it",
    ),
    Option(
        name="engine",
        phase="draw",
        parse=values.engine,
        metavar="vllm|server|replay|NAME",
        default="vllm",
        help="what answers, or another package's engine; replay takes a recorded run's folder as --r1-model",
    ),
    Option(
        name="server-url",
        phase="draw",
        parse=values.server_url,
        metavar="URL",
        help="the OpenAI-compatible server that --r1-engine server asks; its key is read from R1_SERVER_API_KEY",
    ),
    Option(
        name="tp",
        phase="draw",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="tensor-parallel size: GPUs one engine spans; auto spreads a model over several from 30B parameters up",
    ),
    Option(
        name="engines-per-gpu",
        phase="draw",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="engines that share a GPU under -n auto; auto is one",
    ),
    Option(
        name="grader",
        phase="grade",
        choices=choices.CodeGrader,
        default="lighteval",
        help="the rule by which programs and answers are right: LightEval's own, or ours (docs: Graders)",
    ),
    Option(
        name="sandbox-limit",
        phase="grade",
        field="sandbox_limits",
        parse=values.sandbox_limit,
        collect=values.sandbox_limits,
        metavar="KEY=VALUE",
        help="a limit of the programs that are run: cpu_s (6), wall_s (18), memory_mib (4096), n_threads (64), "
        "output_mib (16)",
    ),
    Option(name="unsafe-code", phase="grade", is_flag=True, help="run programs even where no sandbox holds"),
    Option(name="dtype", phase="draw", metavar="DTYPE", default="bfloat16", help="number format of the computation"),
    Option(
        name="gpu-memory-utilization",
        phase="draw",
        parse=values.fraction,
        metavar="FRACTION",
        default="0.8",
        help="fraction of a GPU's memory one engine may take",
    ),
    Option(
        name="engine-arg",
        phase="draw",
        field="engine_args",
        parse=values.engine_argument,
        collect=dict,
        is_json=True,
        metavar="KEY=VALUE",
        help="an argument passed through to the engine",
    ),
    Option(
        name="samples",
        phase="draw",
        parse=values.samples,
        collect=dict,
        metavar="BENCH=K",
        help="samples per problem of one benchmark",
    ),
    Option(
        name="subset",
        phase="draw",
        parse=values.positive_int,
        metavar="N",
        help="only N problems of each benchmark, drawn by hash; never gates against a full exam",
    ),
    *SAMPLING,
    Option(
        name="tasks",
        phase="both",
        locate=values.existing_file,
        metavar="FILE",
        help="a LightEval custom-task module with TASKS_TABLE; each task becomes a benchmark",
    ),
    Option(
        name="data",
        phase="draw",
        locate=values.existing_folder,
        metavar="DIR",
        help="local copies of data sets, by folder name; nothing is downloaded for these",
    ),
    Option(
        name="baseline",
        phase="judge",
        locate=values.baseline,
        metavar="WHICH",
        help="published, previous, org/name, a file, or hf://datasets/ORG/REPO/PATH.json (the model's own: measured, "
        "else published)",
    ),
    Option(
        name="anchor",
        phase="judge",
        locate=values.baseline,
        metavar="WHICH",
        help="a second, fixed baseline, named as --r1-baseline's is: each decides with half of alpha, and the worse "
        "verdict counts",
    ),
    Option(
        name="save-baseline",
        phase="judge",
        parse=values.baseline_name,
        metavar="NAME",
        help="record this run as baselines/NAME.json",
    ),
    Option(
        name="lineage",
        phase="draw",
        parse=values.lineage_part,
        collect=values.lineage,
        metavar="KEY=VALUE",
        help="the checkpoint's place in its training: step=N, parent=ORG/NAME, commit=SHA; stored with the run",
    ),
    Option(
        name="gate",
        phase="draw",
        field="asked_gate",
        choices=choices.GateKind,
        default="fixed",
        help="when the verdict is reached",
    ),
    Option(
        name="max-samples",
        phase="draw",
        choices=choices.LastLook,
        default="k",
        help="where a sequential run ends at the latest: at k samples, or where it keeps the fixed gate's power",
    ),
    Option(
        name="allocation",
        phase="draw",
        choices=choices.AllocationKind,
        default="auto",
        help="whether a sequential run draws more samples of the problems that tell most, by the baseline's counts",
    ),
    Option(
        name="family",
        phase="judge",
        choices=choices.Family,
        default="none",
        help="whether all gates of the run share one error rate",
    ),
    Option(
        name="sigmas",
        phase="judge",
        parse=values.positive_float,
        metavar="S",
        default="3",
        help="how many standard deviations a drop must exceed",
    ),
    Option(
        name="margin",
        phase="judge",
        parse=values.points,
        metavar="POINTS",
        help="non-inferiority margin: a run that cannot resolve it is INCONCLUSIVE",
    ),
    Option(
        name="claim",
        phase="judge",
        choices=choices.Claim,
        default="held",
        help="what a PASS claims: that no fall is shown, or that the two models are the same within --r1-margin",
    ),
    Option(name="two-sided", phase="judge", is_flag=True, help="a score that is too good fails as well"),
    Option(
        name="exact",
        phase="judge",
        is_flag=True,
        help="decide by the exact stratified test, not the normal approximation",
    ),
    Option(
        name="inconclusive",
        phase="judge",
        choices=choices.InconclusivePolicy,
        default="fail",
        help="what INCONCLUSIVE does to the exit code",
    ),
    Option(
        name="report",
        phase="judge",
        field="reports",
        locate=values.report_file,
        collect=tuple,
        metavar="FILE",
        help=f"write a report there too: {choices.report_suffixes()}; every run's folder has a page",
    ),
    Option(
        name="output-dir",
        phase="both",
        subject="place",
        locate=values.path,
        metavar="DIR",
        default="data/evals",
        help="where runs and their ledger are kept: relative to the current folder; in an ini file, and by default, "
        "to the ini file's",
    ),
    Option(
        name="resume",
        phase="draw",
        subject="place",
        metavar="RUN",
        is_bare_allowed=True,
        help="go on with a stored run (the newest of this model if RUN is left out)",
    ),
    Option(
        name="fresh",
        phase="draw",
        is_flag=True,
        help="draw a question again that has its verdict: another attempt, judged on all attempts' samples together",
    ),
    Option(
        name="fail-fast",
        phase="draw",
        is_flag=True,
        help="a benchmark begins when the one before it has not failed; after a FAIL, of health too, the rest is not "
        "drawn and is INVALID",
    ),
    Option(
        name="slice",
        alias="shard",
        phase="draw",
        subject="part",
        parse=values.machine_slice,
        metavar="I/N",
        help="this machine draws slice I of N of every benchmark; r1eval merge brings them together",
    ),
    Option(
        name="timeout",
        phase="draw",
        field="timeout_s",
        parse=values.positive_float,
        metavar="S",
        help="seconds after which drawing ends; what is missing then is INVALID, and --r1-resume draws it",
    ),
    Option(
        name="judge-only",
        phase="judge",
        subject="part",
        locate=values.existing_folder,
        metavar="RUN",
        help="judge a stored run: no model, no engine, nothing is drawn; --r1-grader grades it again",
    ),
    Option(
        name="upload",
        phase="upload",
        parse=values.repository,
        metavar="REPO",
        help="upload the judged run to this data set on the Hub, privately; an organisation alone has it named for you",
    ),
    Option(
        name="upload-when",
        phase="upload",
        choices=choices.UploadWhen,
        default="pass",
        help="which runs are uploaded: those whose gates are all green, or all",
    ),
    Option(
        name="upload-required",
        phase="upload",
        is_flag=True,
        help="a failed upload is an error of the run, not a remark beside it",
    ),
    Option(name="upload-public", phase="upload", is_flag=True, help="make the upload public"),
    Option(
        name="upload-layout",
        phase="upload",
        choices=choices.UploadLayout,
        default="lighteval",
        help="whose names for repositories, folders and configs an upload uses",
    ),
    Option(
        name="log",
        phase="upload",
        field="trackers",
        parse=values.tracker,
        collect=values.trackers,
        metavar="mlflow|wandb|trackio|tensorboard|NAME",
        help="log the verdict to this tracker; mlflow:MODEL/VERSION writes a PASS on that version of the model",
    ),
    Option(
        name="upload-model-page",
        phase="upload",
        parse=values.model_page,
        metavar="REPO",
        help="put the scores into this model's .eval_results as well, for its page on the Hub",
    ),
)
