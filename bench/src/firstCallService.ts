/** A service over TLS that answers after ten milliseconds: `firstCallService.ts <file for its authority's certificate>`. */
import { writeFileSync } from "node:fs"
import { createServer } from "node:https"
import { make } from "../../packages/deepseek/test/support/certificate.ts"
import { completionBody } from "./traffic.ts"

const { authority, certificate, key } = make()
writeFileSync(process.argv[2] ?? "", authority)

createServer({ cert: certificate, key }, (request, response) => {
  request.resume()
  request.on("end", () =>
    setTimeout(() => {
      const body = request.url?.endsWith("/chat/completions") === true
        ? completionBody
        : "{\"object\":\"list\",\"data\":[]}"
      response.writeHead(200, { "content-type": "application/json" }).end(body)
    }, 10))
}).listen(Number(process.env.PORT), "127.0.0.1")
