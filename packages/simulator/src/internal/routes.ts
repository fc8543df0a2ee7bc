/** Which operation a request is for. */
export type Route =
  | { readonly _tag: "Chat"; readonly beta: boolean }
  | { readonly _tag: "Models" }
  | { readonly _tag: "Balance" }
  | { readonly _tag: "State" }
  | { readonly _tag: "Unknown" }

const routes: Record<string, Route> = {
  "POST /chat/completions": { _tag: "Chat", beta: false },
  "POST /v1/chat/completions": { _tag: "Chat", beta: false },
  "POST /beta/chat/completions": { _tag: "Chat", beta: true },
  "GET /models": { _tag: "Models" },
  "GET /v1/models": { _tag: "Models" },
  "GET /user/balance": { _tag: "Balance" },
  "GET /v1/user/balance": { _tag: "Balance" },
  "GET /__simulator/state": { _tag: "State" }
}

export const find = (method: string, path: string): Route =>
  routes[`${method} ${path.replace(/\?.*$/s, "")}`] ?? { _tag: "Unknown" }
