/**
 * Loaded before a test suite of NeDB: what its tests require as `../lib/<module>` is that of the library under test, and
 * `../lib/datastore` is LockedNedb, where its URL is given, on a server instead of a file, where there is one. Mocha takes
 * its root hooks from here too.
 */
import { readdirSync, unlinkSync } from 'node:fs'
import Module from 'node:module'
import { dirname, join, sep } from 'node:path'
import { callbackify } from 'node:util'

/**
 * `tests`: the folder that the tests were copied to; `suite`: the package that they are from; `library`: @seald-io/nedb;
 * `server`: the url of an empty database.
 */
const { tests, suite, library, locked, server } = JSON.parse(process.env.PSLOCK_VANILLA_SUITE)

const resolveFilename = Module._resolveFilename
Module._resolveFilename = function (request, parent, ...rest) {
  const asked = moduleOf(request, parent)
  if (asked) return join(library, 'lib', `${asked}.js`)
  const [, inside] = /^@seald-io\/nedb(\/.*)?$/.exec(request) ?? []
  if (request.startsWith('@seald-io/nedb')) return join(library, inside ?? 'index.js')
  try {
    return resolveFilename.call(this, request, parent, ...rest)
  } catch (error) {
    if (!isTest(parent)) throw error
    // What the tests need beside the library: the package's own, or else ours.
    return resolveFilename.call(this, request, parent, false, { paths: [suite, import.meta.dirname] })
  }
}

function isTest(parent) {
  return [join(tests, 'test'), join(tests, 'test_lac')].includes(dirname(parent?.filename ?? ''))
}

/** Which module of the library a test asks for. */
function moduleOf(request, parent) {
  return !isTest(parent) ? undefined : /^\.\.\/lib\/(\w+)(?:\.js)?$/.exec(request)?.[1]
}

const LockedNedb = locked && onServer((await import(locked)).LockedNedb)
const load = Module._load
Module._load = function (request, parent, ...rest) {
  const asked = moduleOf(request, parent)
  if (asked) giveOldNames()
  return asked === 'datastore' && LockedNedb ? LockedNedb : load.call(this, request, parent, ...rest)
}

/**
 * What NeDB 1.8 calls by these names, with a callback, and the newest one only by others. Both sides are given it, and not
 * before a test asks for the library: some change what it is about to load.
 */
function giveOldNames() {
  const require = Module.createRequire(import.meta.url)
  const [storage, Persistence, Datastore] = ['storage', 'persistence', 'datastore'].map((name) =>
    require(join(library, 'lib', `${name}.js`)),
  )
  withCallback(Persistence.prototype, 'persistCachedDatabase', 'persistCachedDatabaseAsync')
  withCallback(Datastore.prototype, 'getCandidates', '_getCandidatesAsync')
  withCallback(storage, 'ensureFileDoesntExist', 'ensureFileDoesntExistAsync')
  withCallback(storage, 'ensureDatafileIntegrity', 'ensureDatafileIntegrityAsync')
  Persistence.ensureDirectoryExists ??= (folder, callback) =>
    callbackify(() => storage.mkdirAsync(folder, { recursive: true }))(callback)
}

function withCallback(object, name, now) {
  object[name] ??= function (...args) {
    const callback = args.pop()
    callbackify(() => this[now](...args))(callback)
  }
}

/** Which test runs: a file of the same name is another one in the next, for they remove it before they begin. */
let test = 0
/** The stores of the running test. */
const opened = []

/** A class whose files are stores on the server. */
function onServer(Locked) {
  if (!server) return Locked
  return class LockedNedb extends Locked {
    constructor(given, ...more) {
      const { filename, ...options } = typeof given === 'string' ? { filename: given } : (given ?? {})
      if (typeof filename !== 'string' || filename === '' || options.inMemoryOnly || more.length > 0) {
        super(given, ...more)
        return
      }
      super({ ...options, url: server, name: `${test} ${filename}` })
      // What some of them look at.
      this.filename = filename
      opened.push(this)
    }
  }
}

export const mochaHooks = {
  beforeEach() {
    test++
  },
  /** Some tests remove a folder of theirs once they have removed their data file: the lock file must not keep it. */
  async afterEach() {
    for (const name of readdirSync('workspace', { recursive: true })) {
      if (name.includes(sep) && name.endsWith('.lock')) unlinkSync(join('workspace', name))
    }
    // The server has so many connections and not more.
    await Promise.allSettled(opened.splice(0).map((store) => store.close()))
  },
}
