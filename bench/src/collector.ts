/** A collector of telemetry: takes what comes, or, started with `hang`, never answers, or with `fail` answers 500. */
import { createServer } from "node:http"

const [manner] = process.argv.slice(2)

createServer((request, response) => {
  request.resume().on("end", () => {
    if (manner !== "hang") response.writeHead(manner === "fail" ? 500 : 200).end()
  })
}).listen(Number(process.env.PORT), "127.0.0.1")
