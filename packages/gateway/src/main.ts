#!/usr/bin/env node
import * as Module from "node:module"
import { tooOld } from "./internal/cli/nodeVersion.ts"

const problem = tooOld(process.versions.node)
if (problem !== undefined) {
  process.stderr.write(`${problem}\n`)
  process.exit(1)
}

// Before anything else is loaded: from the second start on, the program starts in about half the time.
Module.enableCompileCache()

const [Cli, Signals] = await Promise.all([import("./Cli.ts"), import("./Signals.ts")])

Signals.runMain(Cli.main, { disableErrorReporting: true, teardown: Signals.teardown })
