/**
 * The page of runs: `GET /workflows` lists them, `GET /workflows/runs/{id}` shows one as it goes on, with its approvals.
 *
 * The page itself is open, and holds nothing of any run: it asks for a key, and gets what that key may see from the API. Its policy lets it load and call this gateway alone, and run no script but its own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as page from "./internal/runsPage.ts"
import type * as Routes from "./Routes.ts"

const headers = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache"
}

const route = (path: Routes.Route["path"], contentType: string, text: string): Routes.Route => ({
  path,
  name: path.replace(/:(\w+)/g, "{$1}"),
  methods: { GET: () => Effect.succeed(HttpServerResponse.text(text, { contentType, headers })) },
  open: true,
  quiet: true
})

const html = "text/html; charset=utf-8"

/**
 * @category routes
 * @since 0.1.0
 */
export const routes: ReadonlyArray<Routes.Route> = [
  route("/workflows", html, page.html),
  route("/workflows/runs/:id", html, page.html),
  route("/workflows/page.js", "text/javascript; charset=utf-8", page.script),
  route("/workflows/page.css", "text/css; charset=utf-8", page.style)
]
