#!/usr/bin/env node
import * as Module from "node:module"
import * as V8 from "node:v8"
import { tooOld } from "./internal/cli/nodeVersion.ts"

const problem = tooOld(process.versions.node)
if (problem !== undefined) {
  process.stderr.write(`${problem}\n`)
  process.exit(1)
}

// V8 may learn that what a place makes lives long, and then puts all of it among old objects, where it stays until the next full collection with
// whatever it refers to. Of calls that last milliseconds it learns that wrongly, in some processes and not in others.
V8.setFlagsFromString("--no-allocation-site-pretenuring")

// Before anything else is loaded: from the second start on, the program starts in about half the time.
Module.enableCompileCache()

const [Cli, Signals] = await Promise.all([import("./Cli.ts"), import("./Signals.ts")])

Signals.runMain(Cli.main, { disableErrorReporting: true, teardown: Signals.teardown })
