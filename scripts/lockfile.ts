/**
 * Keeps `package-lock.json` installable everywhere. npm leaves out of it the optional packages of other platforms that its registry did
 * not serve, and `npm ci` then refuses the file; it may record the address of a registry that others cannot reach; and it records which
 * Node each package wants, and warns of every one that the machine's own does not suit, though the repository runs on the Node that it
 * brings. `--write` repairs the file, without it the script only reports.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { showHelp } from "./help.ts"

interface Entry {
  readonly version?: string
  readonly cpu?: ReadonlyArray<string>
  readonly libc?: ReadonlyArray<string>
  readonly os?: ReadonlyArray<string>
  readonly engines?: unknown
  readonly resolved?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly optionalDependencies?: Record<string, string>
}

interface Lockfile {
  packages: Record<string, Entry>
}

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"]
const processors = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32", "x64"]
const libraries: Record<string, string> = {
  gnu: "glibc",
  glibc: "glibc",
  gnueabihf: "glibc",
  musl: "musl",
  musleabihf: "musl"
}

/** The platform that the name of a binary package ends in: `…-linux-x64-musl`, `…-win32-arm64-msvc`. */
export const platformOf = (name: string): { cpu: Array<string>; libc: Array<string>; os: Array<string> } => {
  const words = name.split(/[-/]/)
  const os = words.filter((word) => systems.includes(word))
  return {
    cpu: words.filter((word) => processors.includes(word)),
    libc: os.includes("linux") ? words.flatMap((word) => libraries[word] ?? []) : [],
    os
  }
}

/** The optional packages that the lock file names without holding an entry for them. */
export const missing = (lockfile: Lockfile): Record<string, Entry> => {
  const entries: Record<string, Entry> = {}
  for (const [path, entry] of Object.entries(lockfile.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const places = [`node_modules/${name}`, `${path}/node_modules/${name}`]
      if (places.some((place) => place in lockfile.packages)) continue
      const { cpu, libc, os } = platformOf(name)
      entries[`node_modules/${name}`] = {
        version,
        ...(cpu.length > 0 && { cpu }),
        ...(entry.dev === true && { dev: true }),
        ...(libc.length > 0 && { libc }),
        optional: true,
        ...(os.length > 0 && { os })
      }
    }
  }
  return entries
}

const namesRegistry = (entry: Entry): boolean => entry.resolved?.startsWith("http") === true

const withoutRegistry = ({ resolved: _, ...entry }: Entry): Entry => entry

/** The root's own engines say what is enough to install. */
const wantsNode = (path: string, entry: Entry): boolean => path !== "" && entry.engines !== undefined

const withoutEngines = ({ engines: _, ...entry }: Entry): Entry => entry

/** The lock file with every optional package, and without registry addresses and engines. */
export const complete = (lockfile: Lockfile): Lockfile => {
  const packages = Object.entries({ ...lockfile.packages, ...missing(lockfile) })
    .map(([path, entry]) => [path, namesRegistry(entry) ? withoutRegistry(entry) : entry] as const)
    .map(([path, entry]) => [path, wantsNode(path, entry) ? withoutEngines(entry) : entry] as const)
    .sort(([a], [b]) => a.localeCompare(b, "en"))
  return { ...lockfile, packages: Object.fromEntries(packages) }
}

/** What keeps the lock file from being installed elsewhere, one sentence each. */
export const problems = (lockfile: Lockfile): Array<string> => [
  ...Object.keys(missing(lockfile)).map((path) => `package-lock.json: ${path} has no entry`),
  ...Object.entries(lockfile.packages).filter(([, entry]) => namesRegistry(entry))
    .map(([path]) => `package-lock.json: ${path} names a registry`),
  ...Object.entries(lockfile.packages).filter(([path, entry]) => wantsNode(path, entry))
    .map(([path]) => `package-lock.json: ${path} names engines`)
]

if (import.meta.main) {
  showHelp(`npm run lockfile

Repairs package-lock.json after a change of dependencies: adds the optional packages of other platforms, and takes out the addresses of registries
and the engines of packages. npm run check -- lockfile only reports.`)
  const path = Path.resolve(import.meta.dirname, "../package-lock.json")
  const lockfile: Lockfile = JSON.parse(Fs.readFileSync(path, "utf8"))
  if (process.argv.includes("--write")) {
    Fs.writeFileSync(path, `${JSON.stringify(complete(lockfile), null, 2)}\n`)
  } else if (problems(lockfile).length > 0) {
    console.error([...problems(lockfile), "Run: npm run lockfile"].join("\n"))
    process.exitCode = 1
  }
}
