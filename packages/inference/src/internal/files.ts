/** The files of a version: which there must be, and the SHA-256 that they must have. */
import { createHash } from "node:crypto"
import { createReadStream, readdirSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import type { ModelSettings } from "../ModelSettings.ts"
import { Told } from "./told.ts"

/** Those that a model of a task must have. */
export const of = (task: ModelSettings["task"]): ReadonlyArray<string> =>
  task === "ocr" ? ["detection.onnx", "recognition.onnx", "keys.txt"] : ["model.onnx"]

/** SHA-256 in hexadecimal, by the names of files. */
export type Hashes = Readonly<Record<string, string>>

/** What is in the folder of a version. Names that begin with a dot are of Kubernetes or of an editor. */
const entries = (folder: string): ReadonlyArray<string> => readdirSync(folder).filter((name) => !name.startsWith("."))

/** Changes when a file is written to. Throws a `Told` for one of `files` that is empty. */
export const stamp = (folder: string, files: ReadonlyArray<string>): string =>
  entries(folder).map((file) => {
    const { ino, mtimeMs, size } = statSync(join(folder, file), { throwIfNoEntry: false }) ?? {}
    if (size === 0 && files.includes(file)) throw new Told(`${file} is empty`)
    return `${file} ${ino} ${mtimeMs} ${size}`
  }).join()

/** Of bytes that are in memory. */
export const hashOfBytes = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const hashOf = async (path: string): Promise<string> => {
  const hash = createHash("sha256")
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk)
  return hash.digest("hex")
}

export const mismatch = (file: string, found: string, expected: string): string =>
  `the SHA-256 of ${file} is ${found}, expected ${expected}`

export const unnamed = (file: string): string => `sha256 does not name ${file}; it names every file of a version`

/** Throws a `Told` for the first file that has no hash, or another one. `model.yaml`, which may hold the hashes, needs none. */
export const check = async (folder: string, hashes: Hashes): Promise<void> => {
  for (const [file, expected] of Object.entries(hashes)) {
    const path = join(folder, file)
    if (basename(file) !== file || !statSync(path, { throwIfNoEntry: false })?.isFile()) {
      throw new Told(`sha256 names the file ${file}, which is not there`)
    }
    const found = await hashOf(path)
    if (found !== expected) throw new Told(mismatch(file, found, expected))
  }
  const more = entries(folder).find((file) => file !== "model.yaml" && !Object.hasOwn(hashes, file))
  if (more !== undefined) throw new Told(unnamed(more))
}
