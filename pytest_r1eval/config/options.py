"""
The table of options.

An option is one row, here, in `sampling_options` or in `upload_options`, and one field of `Settings`: pytest's parser,
what its text means, which part of a run it is about, a cluster's jobs and `evaluate`'s keywords are read off it. A test
walks the table.

Every pytest run where the plugin is installed imports this module, and no other of the package's but `plugin`,
`hookspecs`, `reading`, `option`, `sampling_options`, `upload_options`, `values`, `choices` and `errors`.
"""

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option, drawn, drawn_by_policy, judged_by_policy
from pytest_r1eval.config.sampling_options import SAMPLING
from pytest_r1eval.config.upload_options import UPLOAD
from pytest_r1eval.core import choices

MARKS = (
    *(
        "r1eval",
        choices.RELEASE_MARK,
        "smoke",
        "smoke_code",
        "aime",
        "aime25",
        "math500",
        "gpqa",
        "lcb",
        "aime26",
        "hmmt_feb25",
    ),
    *("hmmt_nov25", "gsm8k", "ifeval", "ifbench", "mmlu_pro", "mmlu_redux", "lcb6", "aime_all"),
)
"""Of all shards, of the two small benchmarks, and of the built-in ones."""

NEWEST = "newest"
"""What a bare --r1-resume means."""


OPTIONS: tuple[Option, ...] = (
    drawn(
        name="model",
        subject="checkpoint",
        metavar="MODEL",
        help="the checkpoint to judge, a folder or a Hub id; without it the plugin does nothing",
    ),
    drawn(name="revision", metavar="REV", help="Hub revision of the model"),
    drawn(
        name="base-model",
        locate=values.folder_or_id,
        metavar="MODEL",
        help="the base model of an adapter that is --r1-model, in place of the one that its adapter_config.json names",
    ),
    drawn(
        name="adapter",
        locate=values.folder_or_id,
        metavar="ADAPTER",
        help="a LoRA adapter on --r1-model, a folder or a Hub id; or give the adapter alone as --r1-model",
    ),
    drawn(
        name="adapter-merge",
        is_flag=True,
        help="merge the adapter into a temporary copy of its base model (needs PEFT), where vLLM does not serve it",
    ),
    drawn(
        name="engine",
        parse=values.engine,
        metavar="vllm|server|replay|NAME",
        default="vllm",
        help="what answers, or another package's engine; replay takes a recorded run's folder as --r1-model",
    ),
    drawn(
        name="server-url",
        parse=values.server_url,
        metavar="URL",
        help="the OpenAI-compatible server that --r1-engine server asks; its key is read from R1_SERVER_API_KEY",
    ),
    drawn(
        name="tp",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="tensor-parallel size: GPUs one engine spans; auto spreads a model over several from 30B parameters up",
    ),
    drawn(
        name="engines-per-gpu",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="engines that share a GPU under -n auto; auto is one",
    ),
    Option(
        name="grader",
        phase="grade",
        policy="set",
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
    drawn(name="dtype", metavar="DTYPE", default="bfloat16", help="number format of the computation"),
    drawn(
        name="gpu-memory-utilization",
        parse=values.fraction,
        metavar="FRACTION",
        default="0.8",
        help="fraction of a GPU's memory one engine may take",
    ),
    drawn(
        name="engine-arg",
        field="engine_args",
        parse=values.engine_argument,
        collect=dict,
        is_json=True,
        metavar="KEY=VALUE",
        help="an argument passed through to the engine",
    ),
    drawn_by_policy(
        name="samples",
        is_of_benchmark=True,
        parse=values.samples,
        collect=dict,
        metavar="BENCH=K",
        help="samples per problem of one benchmark",
    ),
    drawn_by_policy(
        name="subset",
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
    drawn(
        name="data",
        locate=values.existing_folder,
        metavar="DIR",
        help="local copies of data sets, by folder name; nothing is downloaded for these",
    ),
    judged_by_policy(
        name="baseline",
        locate=values.baseline,
        metavar="WHICH",
        help="published, previous, org/name, a file, or hf://datasets/ORG/REPO/PATH.json (the model's own: measured, "
        "else published)",
    ),
    judged_by_policy(
        name="anchor",
        locate=values.baseline,
        metavar="WHICH",
        help="a second, fixed baseline, named as --r1-baseline's is: each decides with half of alpha, and the worse "
        "verdict counts",
    ),
    Option(
        name="save-baseline",
        phase="judge",
        policy="refused",
        parse=values.baseline_name,
        metavar="NAME",
        help="record this run as baselines/NAME.json",
    ),
    drawn(
        name="lineage",
        parse=values.lineage_part,
        collect=values.lineage,
        metavar="KEY=VALUE",
        help="the checkpoint's place in its training: step=N, parent=ORG/NAME, commit=SHA; stored with the run",
    ),
    drawn_by_policy(
        name="gate",
        field="asked_gate",
        choices=choices.GateKind,
        default="fixed",
        help="when the verdict is reached",
    ),
    drawn_by_policy(
        name="max-samples",
        choices=choices.LastLook,
        default="k",
        help="where a sequential run ends at the latest: at k samples, or where it keeps the fixed gate's power",
    ),
    drawn_by_policy(
        name="allocation",
        choices=choices.AllocationKind,
        default="auto",
        help="whether a sequential run draws more samples of the problems that tell most, by the baseline's counts",
    ),
    Option(
        name="policy",
        phase="both",
        locate=values.policy,
        metavar="FILE",
        help="a release policy: what each benchmark is judged by, and one verdict for the run (pyproject.toml's, where "
        "-m names release)",
    ),
    judged_by_policy(
        name="family",
        choices=choices.Family,
        default="none",
        help="whether all gates of the run share one error rate",
    ),
    judged_by_policy(
        name="sigmas",
        parse=values.sigmas,
        metavar="S",
        default="3",
        help="how many standard deviations a drop must exceed",
    ),
    judged_by_policy(
        name="margin",
        parse=values.points,
        metavar="POINTS",
        help="non-inferiority margin: a run that cannot resolve it is INCONCLUSIVE",
    ),
    judged_by_policy(
        name="relative-margin",
        parse=values.percent,
        metavar="PERCENT",
        help="the same in percent of the baseline's pass@1, for small scores; of the two the smaller margin counts",
    ),
    judged_by_policy(
        name="max-truncated",
        parse=values.percent_or_zero,
        metavar="PERCENT",
        help="more truncated responses fail, whatever the baseline has (15, where there is no measured baseline)",
    ),
    judged_by_policy(
        name="max-no-answer",
        parse=values.percent_or_zero,
        metavar="PERCENT",
        help="the same for responses without an answer",
    ),
    judged_by_policy(
        name="claim",
        choices=choices.Claim,
        default="held",
        help="what a PASS claims: that no fall is shown, or that the two models are the same within --r1-margin",
    ),
    judged_by_policy(name="two-sided", is_flag=True, help="a score that is too good fails as well"),
    judged_by_policy(
        name="exact",
        is_flag=True,
        help="decide by the exact stratified test, not the normal approximation",
    ),
    Option(
        name="inconclusive",
        phase="judge",
        policy="refused",
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
    drawn(
        name="resume",
        subject="place",
        metavar="RUN",
        is_bare_allowed=True,
        help="go on with a stored run (the newest of this model if RUN is left out)",
    ),
    drawn(
        name="fresh",
        is_flag=True,
        help="draw a question again that has its verdict: another attempt, judged on all attempts' samples together",
    ),
    drawn(
        name="fail-fast",
        is_flag=True,
        help="a benchmark begins when the one before it has not failed; after a FAIL, of health too, the rest is not "
        "drawn and is INVALID",
    ),
    drawn(
        name="slice",
        alias="shard",
        subject="part",
        parse=values.machine_slice,
        metavar="I/N",
        help="this machine draws slice I of N of every benchmark; r1eval merge brings them together",
    ),
    drawn(
        name="timeout",
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
    *UPLOAD,
)
