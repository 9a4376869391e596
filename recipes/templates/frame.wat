;; {about}
;;
;; A `wasm/1` program (specs/0003-job.md §6 of Keystead) as WebAssembly text, which needs no compiler. Change $item; the rest moves bytes.
(module
  (memory (export "memory") 1)

  ;; Where free memory begins. A program lives for one unit, so nothing is given back.
  (global $free (mut i32) (i32.const 64))

  (func $alloc (export "alloc") (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 15)) (i32.const -16)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $free) (i32.shl (memory.size) (i32.const 16))))
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        (unreachable)))
    (local.get $at))

{item}

  ;; The unit input: number of the first item (64 bits), how many items (32 bits), 0.
  ;; Gives address and length of the output, or a negative error code.
  (func (export "run")
    (param $common i32) (param $common_len i32) (param $unit i32) (param $unit_len i32) (result i64)
    (local $number i64) (local $left i32) (local $out i32) (local $at i32)
    (if (i32.lt_u (local.get $unit_len) (i32.const 16)) (then (return (i64.const -1))))
    (local.set $number (i64.load (local.get $unit)))
    (local.set $left (i32.load offset=8 (local.get $unit)))
    (local.set $out (call $alloc (i32.shl (local.get $left) (i32.const 2))))
    (local.set $at (local.get $out))
    (block $done
      (loop $items
        (br_if $done (i32.eqz (local.get $left)))
        ({store} (local.get $at) (call $item (local.get $number)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $number (i64.add (local.get $number) (i64.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $items)))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (local.get $at) (local.get $out))))))
