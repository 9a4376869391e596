;; The self-test of wasm/1: FNV-1a with a rotation over common and unit input through a table call, then the bits of 0/0.
;; Built into self_test.wasm by the test `self_test_binary_is_built_from_its_text`.
(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (type $step (func (param i64 i32) (result i64)))
  (table funcref (elem $step))
  (func $step (type $step)
    local.get 0
    local.get 1
    i64.extend_i32_u
    i64.xor
    i64.const 0x100000001b3
    i64.mul
    i64.const 29
    i64.rotl)
  (func (export "alloc") (param $length i32) (result i32)
    global.get $top
    global.get $top
    local.get $length
    i32.add
    global.set $top)
  (func $absorb (param $state i64) (param $at i32) (param $length i32) (result i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $state
          (call_indirect (type $step) (local.get $state) (i32.load8_u (local.get $at)) (i32.const 0)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $state))
  (func (export "run") (param $c i32) (param $cn i32) (param $u i32) (param $un i32) (result i64)
    (i64.store (i32.const 0)
      (call $absorb
        (call $absorb (i64.const 0xcbf29ce484222325) (local.get $c) (local.get $cn))
        (local.get $u) (local.get $un)))
    (f32.store (i32.const 8) (f32.div (f32.const 0) (f32.convert_i32_u (i32.wrap_i64 (i64.shr_u (i64.const 1) (i64.const 9))))))
    (i64.const 12)))
