/**
 * Builds every package into its `dist`, a folder that is published as it stands: JavaScript, types and source maps by `tsc -b` in `lib`, as
 * deep as the sources in `src`, and a `package.json` whose entry points lead there.
 */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { showHelp } from "./help.ts"

const root = Path.resolve(import.meta.dirname, "..")

/** The folders of all packages. */
export const packages: ReadonlyArray<string> = Fs.readdirSync(Path.join(root, "packages"))
  .map((name) => Path.join(root, "packages", name))
  .filter((folder) => Fs.existsSync(Path.join(folder, "package.json")))

/** What the published packages run on. The repository itself brings a Node of its own, whatever the machine has. */
export const engines = { node: ">=22.19" }

const built = (path: string, extension: string) => path.replace(/^\.\/src\/(.*)\.ts$/, `./lib/$1${extension}`)

const publishedExport = (target: string | null) =>
  target === null ? null : { types: built(target, ".d.ts"), default: built(target, ".js") }

const mapValues = <A, B>(record: Record<string, A>, f: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))

/**
 * Optional peers of a package. In a workspace npm would install them with the product's own dependencies, so its sources name them in a field of
 * their own, and the repository has them as development dependencies.
 */
const optionalPeers = (names: Record<string, string>, peers: Record<string, string>) => ({
  peerDependencies: { ...peers, ...names },
  peerDependenciesMeta: mapValues(names, () => ({ optional: true }))
})

const publishedManifest = (folder: string) => {
  const { bin, devDependencies: _, exports, optionalPeerDependencies, publishConfig, scripts: __, ...manifest } = JSON
    .parse(Fs.readFileSync(Path.join(folder, "package.json"), "utf8"))
  return {
    ...manifest,
    ...(optionalPeerDependencies && optionalPeers(optionalPeerDependencies, manifest.peerDependencies)),
    engines,
    publishConfig: { access: publishConfig.access },
    exports: { "./package.json": "./package.json", ...mapValues(exports, publishedExport) },
    ...(bin !== undefined && { bin: mapValues(bin, (path: string) => built(path, ".js")) })
  }
}

const sizeOf = (folder: string): number =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .reduce((sum, file) => sum + Fs.statSync(Path.join(folder, file)).size, 0)

/** What was made, and where: `packages/chat/dist  @ballast/chat@0.0.0, 120 kB`. */
const described = (folder: string): string => {
  const dist = Path.join(folder, "dist")
  const { name, version } = JSON.parse(Fs.readFileSync(Path.join(dist, "package.json"), "utf8"))
  return `${Path.relative(root, dist).padEnd(28)} ${name}@${version}, ${Math.round(sizeOf(dist) / 1000)} kB`
}

if (import.meta.main) {
  showHelp(`npm run build

Builds every package into its folder dist, which is published as it stands: JavaScript, types, source maps, package.json, README, LICENSE.`)
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
    console.log(described(folder))
  }
  console.log(
    "\nBuilt. To try a package elsewhere: npm pack ./packages/gateway/dist, then npm install the .tgz files there."
  )
}
