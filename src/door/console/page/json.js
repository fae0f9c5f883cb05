// Where a text stops being JSON (RFC 8259), in words and with the place as people count. Browsers tell it each in its own way, and
// some of them without the place.

const SPACE = /[ \t\n\r]*/y
const TEXT = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y

/** @returns {string|null} what is wrong; null when it is JSON */
export function jsonFault(text) {
  if (!text.trim()) return "This is empty. JSON may be \"a text\", 1, true, null, [] or {}."
  let at = 0
  const takes = (token) => {
    token.lastIndex = at
    const found = token.test(text)
    if (found) at = token.lastIndex
    return found
  }
  const next = (letter) => {
    takes(SPACE)
    if (text[at] !== letter) return false
    at += 1
    return true
  }
  const expect = (isThere, what) => {
    if (!isThere) throw new Error(what)
  }
  const several = (end, one) => {
    if (next(end)) return
    do one(); while (next(","))
    expect(next(end), `a comma or ${end}`)
  }
  const member = () => {
    takes(SPACE)
    expect(takes(TEXT), "a name in double quotes")
    expect(next(":"), "a colon")
    value()
  }
  const value = () => {
    takes(SPACE)
    if (next("{")) several("}", member)
    else if (next("[")) several("]", value)
    else expect(takes(TEXT) || takes(SCALAR), "a value")
  }
  try {
    value()
    takes(SPACE)
    expect(at === text.length, "the end")
    return null
  } catch (error) {
    const before = text.slice(0, at).split("\n")
    return `Line ${before.length}, column ${before.at(-1).length + 1}: ${error.message} is expected.`
  }
}
