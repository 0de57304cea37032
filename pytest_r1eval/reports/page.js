"use strict";
// The sample viewer: everything a model wrote is set as text, never as markup.
for (const viewer of document.querySelectorAll(".viewer")) {
  const samples = JSON.parse(document.getElementById(viewer.dataset.samples).textContent);
  const buttons = [...viewer.querySelectorAll("button[data-filter]")];
  const chooser = viewer.querySelector("select");
  const shown = viewer.querySelector("[data-shown]");
  const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
  let filter = buttons.find((button) => button.getAttribute("aria-pressed") === "true").dataset.filter;

  const tests = {
    all: () => true,
    correct: (sample) => sample.outcome === "correct",
    wrong: (sample) => sample.outcome !== "correct",
    fell: (sample) => sample.fell,
    truncated: (sample) => sample.cut || sample.outcome === "truncated",
    no_answer: (sample) => sample.outcome === "no_answer",
  };

  function show(sample) {
    part("outcome").textContent = sample ? `${sample.outcome}${sample.cut ? ", truncated" : ""}, ${sample.tokens} tokens, seed ${sample.seed}` : "no sample fits";
    part("problem").textContent = sample ? sample.problem : "";
    part("answer").textContent = sample ? (sample.answer ?? "none was found") : "";
    part("gold").textContent = sample ? sample.gold : "";
    part("response").textContent = sample ? sample.text : "";
    part("base").parentElement.hidden = !sample?.base;
    part("base").previousElementSibling.textContent = `the baseline's response: ${sample?.base_outcome}`;
    part("base").textContent = sample?.base ?? "";
  }

  function fill() {
    const fitting = samples.filter(tests[filter]);
    chooser.replaceChildren(
      ...fitting.map((sample) => {
        const option = document.createElement("option");
        option.value = String(samples.indexOf(sample));
        option.textContent = `${sample.title}, sample ${sample.index}: ${sample.outcome}`;
        return option;
      }),
    );
    shown.textContent = `${fitting.length} of ${samples.length} samples`;
    const first = (filter === "fell" && fitting.find(tests.wrong)) || fitting[0];
    if (first) chooser.value = String(samples.indexOf(first));
    show(first);
  }

  for (const button of buttons) {
    button.append(` (${samples.filter(tests[button.dataset.filter]).length})`);
    button.addEventListener("click", () => {
      filter = button.dataset.filter;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      fill();
    });
  }
  chooser.addEventListener("change", () => show(samples[Number(chooser.value)]));
  fill();
}

// The squares: the table below lists the problems in their order, so a square's place is a row.
for (const box of document.querySelectorAll(".problems")) {
  const picture = box.querySelector("svg");
  const words = box.querySelector("[data-pointed]");
  const rows = box.querySelectorAll("tbody tr");
  const { pitch, columns } = picture.dataset;
  words.hidden = false;
  const speak = (event) => {
    const shown = picture.getBoundingClientRect();
    const scale = picture.viewBox.baseVal.width / shown.width;
    const [column, row] = [event.clientX - shown.left, event.clientY - shown.top].map((at) => Math.floor((at * scale) / pitch));
    const cells = column < columns ? rows[row * columns + column]?.cells : undefined;
    if (!cells) return;
    const [id, base, run, change] = [...cells].map((cell) => cell.textContent);
    words.textContent = `${id}: this run ${run}${base === "-" ? "" : `, baseline ${base}`}${change ? `, ${change}` : ""}`;
  };
  picture.addEventListener("pointermove", speak);
  picture.addEventListener("pointerdown", speak);
}
