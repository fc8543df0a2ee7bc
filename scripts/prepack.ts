/** Refuses to pack or publish a source folder: what is published is its `dist`. */
import * as Path from "node:path"

const folder = Path.relative(Path.resolve(import.meta.dirname, ".."), process.cwd())

console.error(
  `This folder holds sources. In the root of the repository, run: npm run build && npm pack ./${folder}/dist`
)
process.exit(1)
