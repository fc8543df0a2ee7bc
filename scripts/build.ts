/**
 * Builds every package into its `dist`, a folder that is published as it stands: JavaScript, types and source maps by `tsc -b` in `lib`, as
 * deep as the sources in `src`, and a `package.json` whose entry points lead there.
 */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.resolve(import.meta.dirname, "..")

/** The folders of all packages. */
export const packages: ReadonlyArray<string> = Fs.readdirSync(Path.join(root, "packages"))
  .map((name) => Path.join(root, "packages", name))
  .filter((folder) => Fs.existsSync(Path.join(folder, "package.json")))

const built = (path: string, extension: string) => path.replace(/^\.\/src\/(.*)\.ts$/, `./lib/$1${extension}`)

const publishedExport = (target: string | null) =>
  target === null ? null : { types: built(target, ".d.ts"), default: built(target, ".js") }

const mapValues = <A, B>(record: Record<string, A>, f: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))

const publishedManifest = (folder: string) => {
  const { bin, devDependencies: _, exports, publishConfig, scripts: __, ...manifest } = JSON.parse(
    Fs.readFileSync(Path.join(folder, "package.json"), "utf8")
  )
  return {
    ...manifest,
    publishConfig: { access: publishConfig.access },
    exports: { "./package.json": "./package.json", ...mapValues(exports, publishedExport) },
    ...(bin !== undefined && { bin: mapValues(bin, (path: string) => built(path, ".js")) })
  }
}

if (import.meta.main) {
  for (const folder of packages) Fs.rmSync(Path.join(folder, "dist"), { recursive: true, force: true })
  const projects = packages.map((folder) => Path.join(folder, "tsconfig.build.json"))
  const { status } = spawnSync(Path.join(root, "node_modules/.bin/tsc"), ["-b", ...projects], { stdio: "inherit" })
  if (status !== 0) process.exit(1)
  for (const folder of packages) {
    const dist = Path.join(folder, "dist")
    Fs.rmSync(Path.join(dist, ".tsbuildinfo"))
    Fs.writeFileSync(Path.join(dist, "package.json"), `${JSON.stringify(publishedManifest(folder), null, 2)}\n`)
    Fs.copyFileSync(Path.join(root, "LICENSE"), Path.join(dist, "LICENSE"))
    const readme = Path.join(folder, "README.md")
    if (Fs.existsSync(readme)) Fs.copyFileSync(readme, Path.join(dist, "README.md"))
  }
}
