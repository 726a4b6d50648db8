// Builds the page's script and style: `node build.mjs [FOLDER]`; equal sources give equal bytes.
import { build } from "esbuild";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../src/tunescope/page/built");
const shared = { bundle: true, minify: true, charset: "utf8", legalComments: "none", target: "es2022", logLevel: "warning" };

mkdirSync(out, { recursive: true });
await build({ ...shared, entryPoints: [join(here, "src/main.js")], format: "iife", outfile: join(out, "page.js") });
await build({ ...shared, entryPoints: [join(here, "src/page.css")], outfile: join(out, "page.css") });

// The licence goes where the code goes: into every page, at the head of its script.
const licence = readFileSync(join(here, "node_modules/uplot/LICENSE"), "utf8").trim();
const script = readFileSync(join(out, "page.js"), "utf8");
writeFileSync(join(out, "page.js"), `/* Lines are drawn by uPlot 1.6.32:\n\n${licence}\n*/\n${script}`);
copyFileSync(join(here, "src/page.html"), join(out, "page.html"));
