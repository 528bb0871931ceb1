import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** Loads an optional package. @throws Error `ERR_MODULE_NOT_FOUND` that says what to type where it is not installed */
export function requirePackage(name: string): unknown {
  try {
    return require(name)
  } catch (error) {
    throw isMissing(error, name) ? notInstalled(name) : error
  }
}

/** A part of @seald-io/nedb, the application's own or the one that its nedb-promises brings along. */
export function fromNedb(part: '' | '/lib/model.js'): unknown {
  const name = `@seald-io/nedb${part}`
  try {
    return require(name)
  } catch (error) {
    if (!isMissing(error, name)) throw error
  }
  let promises: string
  try {
    promises = require.resolve('nedb-promises')
  } catch (error) {
    throw isMissing(error, 'nedb-promises') ? notInstalled('@seald-io/nedb') : error
  }
  return createRequire(promises)(name)
}

function isMissing(error: unknown, name: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'MODULE_NOT_FOUND' && message.startsWith(`Cannot find module '${name}'`)
}

/** In one line, with the code of Node.js for a module that cannot be imported. */
function notInstalled(name: string): Error {
  const error = new Error(`the package ${name}, which pslock works on, is not installed: npm install ${name}`)
  // Neither the frames of the loader nor, as a cause, its list of requiring modules tells the reader anything.
  error.stack = `Error: ${error.message}`
  return Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' })
}
