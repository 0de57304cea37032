"use strict";
// The sample viewer: everything a model wrote is set as text, never as markup.
for (const viewer of document.querySelectorAll(".viewer")) {
  const samples = JSON.parse(document.getElementById(viewer.dataset.samples).textContent);
  const buttons = [...viewer.querySelectorAll("button[data-filter]")];
  const chooser = viewer.querySelector("select");
  const shown = viewer.querySelector("[data-shown]");
  const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
  let filter = "all";

  const fits = (sample) =>
    filter === "all" || (filter === "fell" ? sample.fell : filter === "wrong" ? sample.outcome !== "correct" : sample.outcome === filter || (filter === "truncated" && sample.cut));

  function show(sample) {
    part("outcome").textContent = sample ? `${sample.outcome}${sample.cut ? ", cut off" : ""}, ${sample.tokens} tokens, seed ${sample.seed}` : "no sample fits";
    part("problem").textContent = sample ? sample.problem : "";
    part("answer").textContent = sample ? (sample.answer ?? "none was found") : "";
    part("gold").textContent = sample ? sample.gold : "";
    part("response").textContent = sample ? sample.text : "";
  }

  function fill() {
    const fitting = samples.filter(fits);
    chooser.replaceChildren(
      ...fitting.map((sample) => {
        const option = document.createElement("option");
        option.value = String(samples.indexOf(sample));
        option.textContent = `${sample.id}, sample ${sample.index}: ${sample.outcome}`;
        return option;
      }),
    );
    shown.textContent = `${fitting.length} of ${samples.length} samples`;
    show(fitting[0]);
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      filter = button.dataset.filter;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      fill();
    });
  }
  chooser.addEventListener("change", () => show(samples[Number(chooser.value)]));
  fill();
}
