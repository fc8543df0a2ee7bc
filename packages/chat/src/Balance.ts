/**
 * What is left of the account's money, from `GET /user/balance`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The body of `GET /user/balance`. Amounts are decimal strings, as the service sends them; an account may hold several currencies
 * (`CNY`, `USD`). Granted credit is spent before topped-up credit.
 *
 * @category models
 * @since 0.1.0
 */
export const Balance = Schema.Struct({
  is_available: Schema.Boolean,
  balance_infos: Schema.Array(Schema.Struct({
    currency: Schema.String,
    total_balance: Schema.String,
    granted_balance: Schema.String,
    topped_up_balance: Schema.String
  }))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Balance = typeof Balance.Type
