// The way in: an account and its password, and the key of the app whose admin one is.

import { signIn } from "./api.js"
import { h } from "./dom.js"
import { faultLine, field, working } from "./parts.js"
import { logo } from "./logo.js"

/**
 * @param {string|null} reason why one is here again
 * @param {function} entered is given the session
 */
export function signInPage(reason, entered) {
  const account = field("Account", h("input", {
    type: "text", name: "account", autocomplete: "username", required: true, autocapitalize: "off", spellcheck: "false",
  }))
  const password = field("Password", h("input", {
    type: "password", name: "password", autocomplete: "current-password", required: true,
  }))
  const app = field("App key", h("input", {
    type: "text", name: "app_key", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  }), { hint: "Only for the admin of one app. Leave it empty to sign in as the super admin." })
  const go = h("button", { type: "submit", class: "button primary wide" }, "Sign in")
  const fault = faultLine()

  const submit = working(go, async () => {
    fault.tell(null)
    try {
      entered(await signIn(account.input.value, password.input.value, app.input.value.trim()))
    } catch (error) {
      fault.tell(words(error))
      password.input.value = ""
      password.input.focus()
    }
  })
  const form = h("form", { class: "card sign-in", onsubmit: submit, "aria-label": "Sign in" },
    account.element, password.element, app.element, fault.element, go)
  const page = h("div", { class: "gate" },
    h("div", { class: "gate-head" }, logo(), h("h1", { tabIndex: -1 }, "Gusher console")),
    reason && h("p", { class: "note", role: "status" }, reason), form)
  return { element: page, title: "Sign in", focus: () => account.input.focus() }
}

function words(error) {
  if (error.status === 401) return "Account, password or app key is wrong."
  if (error.status !== 429) return error
  const wait = error.retryAfter_seconds
  return `Too many attempts. Try again ${wait ? `in ${wait} s` : "in a while"}.`
}
